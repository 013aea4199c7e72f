package torrentfile

import (
	"errors"
	"fmt"
	"strconv"
)

// maxDepth bounds how deep values that nobody looks at may be nested.
const maxDepth = 32

// cursor reads canonical bencode (BEP 3) and refuses everything else: unsorted
// or repeated keys, leading zeros, values of another type than asked for. So
// what it accepts has one encoding only, and clients that hash the raw bytes
// agree with those that encode again what they decoded. (The bencode library
// reads more than that; it is used for writing.) Byte strings are not copied.
type cursor struct {
	b   []byte
	pos int
}

func (c *cursor) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: "+format, append([]any{c.pos}, args...)...)
}

// peek returns the next byte, or 0 at the end.
func (c *cursor) peek() byte {
	if c.pos < len(c.b) {
		return c.b[c.pos]
	}
	return 0
}

func (c *cursor) expect(want byte) error {
	if c.peek() != want {
		return c.errorf("no %q where one must be", want)
	}
	c.pos++
	return nil
}

// number reads a canonical decimal up to the byte that ends it.
func (c *cursor) number(end byte) (int64, error) {
	from := c.pos
	for c.pos < len(c.b) && c.pos-from <= 20 && c.b[c.pos] != end {
		c.pos++
	}
	s := string(c.b[from:c.pos])
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		c.pos = from
		return 0, c.errorf("%q is not a number in its shortest form", s)
	}
	return n, c.expect(end)
}

func (c *cursor) integer() (int64, error) {
	if err := c.expect('i'); err != nil {
		return 0, err
	}
	return c.number('e')
}

func (c *cursor) bytes() ([]byte, error) {
	if b := c.peek(); b < '0' || b > '9' {
		return nil, c.errorf("no string where one must be")
	}
	n, err := c.number(':')
	if err != nil {
		return nil, err
	}
	if n > int64(len(c.b)-c.pos) {
		return nil, c.errorf("a string of %d bytes passes the end", n)
	}
	s := c.b[c.pos : c.pos+int(n)]
	c.pos += int(n)
	return s, nil
}

func (c *cursor) string() (string, error) {
	b, err := c.bytes()
	return string(b), err
}

// dict calls value for each key; value must read what belongs to it.
func (c *cursor) dict(value func(key string) error) error {
	if err := c.expect('d'); err != nil {
		return err
	}
	last, first := "", true
	for c.peek() != 'e' {
		key, err := c.string()
		if err != nil {
			return err
		}
		if !first && key <= last {
			return c.errorf("the key %q does not sort after %q", key, last)
		}
		last, first = key, false
		if err := value(key); err != nil {
			return err
		}
	}
	c.pos++
	return nil
}

// list calls item while there are more; item must read one.
func (c *cursor) list(item func() error) error {
	if err := c.expect('l'); err != nil {
		return err
	}
	for c.peek() != 'e' {
		if err := item(); err != nil {
			return err
		}
	}
	c.pos++
	return nil
}

// raw reads any value and returns its encoding.
func (c *cursor) raw() ([]byte, error) {
	from := c.pos
	if err := c.skip(maxDepth); err != nil {
		return nil, err
	}
	return c.b[from:c.pos], nil
}

func (c *cursor) skip(depth int) error {
	if depth == 0 {
		return c.errorf("values are nested too deeply")
	}
	switch c.peek() {
	case 'i':
		_, err := c.integer()
		return err
	case 'd':
		return c.dict(func(string) error { return c.skip(depth - 1) })
	case 'l':
		return c.list(func() error { return c.skip(depth - 1) })
	}
	_, err := c.bytes()
	return err
}

func (c *cursor) end() error {
	if c.pos != len(c.b) {
		return c.errorf("%d bytes follow the end", len(c.b)-c.pos)
	}
	return nil
}

// whole reads a file that must be one dictionary of a bounded length.
func whole(b []byte, value func(c *cursor, key string) error) error {
	if len(b) > MaxBytes {
		return fmt.Errorf("it has %d bytes, more than %d", len(b), MaxBytes)
	}
	if len(b) == 0 {
		return errors.New("it is empty")
	}
	c := &cursor{b: b}
	if err := c.dict(func(key string) error { return value(c, key) }); err != nil {
		return err
	}
	return c.end()
}
