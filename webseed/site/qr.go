package site

import (
	"bytes"
	"fmt"
	"net/http"

	"rsc.io/qr"

	"dropseed/publisher/catalog"
)

// quietZone is how many modules of nothing are around a QR code.
const quietZone = 4

// qr answers with a picture of the address of a release's page.
func (s *Site) qr(w http.ResponseWriter, r *http.Request, rel catalog.Release) {
	picture, err := qrCode(pageURL(s.o.Base(r), rel.Name))
	if err != nil {
		s.fail(w, r, http.StatusNotFound, "The address of this release is too long for a QR code.")
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	send(w, r, http.StatusOK, picture, nil)
}

// qrCode returns a text as an SVG. It is dark on light in any theme, since not
// all readers know it the other way around.
func qrCode(text string) ([]byte, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		if code, err = qr.Encode(text, qr.L); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	size := code.Size + 2*quietZone
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, size, size, size, size)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for code.Black(x, y) { // outside nothing is
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, x-from, x-from)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.Bytes(), nil
}
