package configs

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Key    string // dotted, such as http.listen or sources[1].path; empty: the file as a whole
	Origin string // where the value came from: a flag, a variable, or file and line; empty: a default
	Text   string // what is wrong, and what is allowed
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Key)
	switch {
	case p.Key == "":
		b.WriteString(p.Origin)
	case p.Origin != "":
		b.WriteString(" (" + p.Origin + ")")
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is everything that is wrong with a configuration: the error of
// [Load] and [Config.Validate]. It prints one problem a line.
type Problems []Problem

func (ps Problems) Error() string {
	if len(ps) == 1 {
		return "bad configuration: " + ps[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "bad configuration, %d problems:", len(ps))
	for _, p := range ps {
		b.WriteString("\n  " + p.Error())
	}
	return b.String()
}

// Unwrap lets errors.As find a single Problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

func (ps *Problems) add(key, origin, format string, args ...any) {
	*ps = append(*ps, Problem{Key: key, Origin: origin, Text: fmt.Sprintf(format, args...)})
}

// err returns nil rather than an empty list.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// nearest returns the candidate that name is most likely a slip of, or "".
func nearest(name string, candidates []string, most int) string {
	best := ""
	for _, c := range candidates {
		if d := distance(name, c); d <= most {
			best, most = c, d-1
		}
	}
	return best
}

// distance is the number of characters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
