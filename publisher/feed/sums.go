package feed

import (
	"bufio"
	"io"
	"strings"

	"dropseed/publisher/catalog"
)

// sumEscaper makes one line of a path, as coreutils do.
var sumEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// WriteSums writes a line for each file of a release, with its path from the
// folder that holds the release, as sha256sum -c reads them. A release whose
// sums are not known gets a comment instead.
func WriteSums(w io.Writer, c *catalog.Content) error {
	out := bufio.NewWriterSize(w, 32<<10)
	for i, f := range c.Files {
		path := f.Path
		if path == "-" {
			path = "./-" // else it means standard input
		}
		plain := sumEscaper.Replace(path)
		sum := sum(c, i)
		if sum == "" {
			out.WriteString("# not known: " + sumEscaper.Replace(c.Name) + "\n")
			break
		}
		if plain != path {
			out.WriteByte('\\')
		}
		out.WriteString(sum + "  " + plain + "\n")
	}
	return out.Flush()
}
