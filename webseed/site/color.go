package site

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// Color is red, green and blue in sRGB.
type Color struct{ R, G, B uint8 }

// ParseColor reads #rrggbb.
func ParseColor(text string) (Color, error) {
	digits, ok := strings.CutPrefix(text, "#")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != 3 {
		return Color{}, fmt.Errorf("want a color such as #0f74c4, got %q", text)
	}
	return Color{b[0], b[1], b[2]}, nil
}

func (c Color) String() string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

var (
	white = Color{255, 255, 255}
	black = Color{}
	ink   = Color{0x0b, 0x12, 0x1a} // text on light accents

	defaultAccent     = Color{0x0b, 0x6b, 0xc2}
	defaultAccentDark = Color{0x5a, 0xb0, 0xf5}

	// What links stand on: --bg, --panel and --hover of style.css.
	lightGrounds = []Color{{0xf5, 0xf7, 0xfa}, white, {0xee, 0xf3, 0xf8}}
	darkGrounds  = []Color{{0x0d, 0x12, 0x18}, {0x15, 0x1c, 0x25}, {0x1c, 0x25, 0x30}}
)

// leastContrast is what WCAG 2 asks of text at level AA.
const leastContrast = 4.5

// luminance is the relative luminance of WCAG 2, 0 to 1.
func (c Color) luminance() float64 {
	linear := func(v uint8) float64 {
		f := float64(v) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

// contrast is the contrast ratio of WCAG 2, 1 to 21.
func contrast(a, b Color) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// textOn returns the color of text on a ground: white unless that is hard to read.
func textOn(ground Color) Color {
	switch {
	case contrast(white, ground) >= leastContrast:
		return white
	case contrast(ink, ground) >= leastContrast:
		return ink
	}
	return black // one of white and black always is readable
}

// readable returns c, made darker or lighter until it can be read on every ground.
func readable(c Color, grounds ...Color) Color {
	end := black
	if grounds[0].luminance() < 0.18 { // where white and black are equally readable
		end = white
	}
	const steps = 50
	for i := 0; i <= steps; i++ {
		mixed := mix(c, end, float64(i)/steps)
		least := math.Inf(1)
		for _, g := range grounds {
			least = min(least, contrast(mixed, g))
		}
		if least >= leastContrast {
			return mixed
		}
	}
	return end
}

// mix returns what is a part (0 to 1) of b and the rest of a.
func mix(a, b Color, part float64) Color {
	m := func(x, y uint8) uint8 { return uint8(math.Round(float64(x)*(1-part) + float64(y)*part)) }
	return Color{m(a.R, b.R), m(a.G, b.G), m(a.B, b.B)}
}
