package configs

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is one key of a struct: a value, or the list of sources.
type field struct {
	key   string // dotted, from the root of the struct that fieldsOf was given
	value reflect.Value
}

// fieldsOf lists the keys of the struct that v is, in order.
func fieldsOf(v reflect.Value, prefix string) []field {
	var fields []field
	for i := range v.NumField() {
		name, inline := strings.CutSuffix(v.Type().Field(i).Tag.Get("key"), ",inline")
		key, fv := join(prefix, name), v.Field(i)
		switch {
		case inline:
			fields = append(fields, fieldsOf(fv, prefix)...)
		case isSection(fv.Type()):
			fields = append(fields, fieldsOf(fv, key)...)
		default:
			fields = append(fields, field{key, fv})
		}
	}
	return fields
}

// isSection reports whether t is a struct of keys rather than a value.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.Field(0).Tag.Get("key") != ""
}

// set parses raw, which is what a file holds (see file.values) or the text of
// a flag or variable, into v. It leaves v alone if it returns an error.
func set(v reflect.Value, raw any) error {
	if v.Kind() == reflect.Slice {
		return setList(v, raw)
	}
	text, ok := raw.(string)
	if !ok {
		return fmt.Errorf("want one value, got %s", show(raw))
	}
	x := reflect.New(v.Type())
	if err := parse(x.Interface(), text); err != nil {
		return fmt.Errorf("%w, got %q", err, text)
	}
	v.Set(x.Elem())
	return nil
}

func setList(v reflect.Value, raw any) error {
	var items []any
	switch raw := raw.(type) {
	case []any:
		items = raw
	case string: // one item of a list of lists, or a list in a variable
		if strings.TrimSpace(raw) == "" {
			break
		}
		for item := range strings.SplitSeq(raw, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	default:
		return fmt.Errorf("want a list, got %s", show(raw))
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := set(list.Index(i), item); err != nil {
			return err
		}
	}
	if len(items) == 0 {
		list = reflect.Zero(v.Type()) // nil, as in Default
	}
	v.Set(list)
	return nil
}

// parse reads text into what p points to. Its errors say what is wanted.
func parse(p any, text string) error {
	switch p := p.(type) {
	case *string:
		*p = text
	case *Secret:
		*p = Secret(text)
	case *bool:
		if text != "true" && text != "false" {
			return errors.New("want true or false")
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("want a whole number")
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("want a duration such as 300ms, 5s or 2h")
		}
		*p = d
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("want a number such as 0.2")
		}
		*p = f
	case *slog.Level:
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, text) {
			return errors.New("want debug, info, warn or error")
		}
		return p.UnmarshalText([]byte(text))
	case *netip.Addr:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return errors.New("want an IP address such as 203.0.113.7 or 2001:db8::7")
		}
		*p = a.Unmap()
	case *netip.Prefix:
		return parsePrefix(p, text)
	case **url.URL:
		return parseURL(p, text)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	default:
		panic(fmt.Sprintf("configs: no parser for %T", p))
	}
	return nil
}

// parsePrefix reads a network, or an address as the network of just itself.
func parsePrefix(p *netip.Prefix, text string) error {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		*p = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	n, err := netip.ParsePrefix(text)
	if err != nil || n.Addr().Is4In6() {
		return errors.New("want an address or network such as 10.0.0.0/8 or fd00::/8")
	}
	*p = n.Masked()
	return nil
}

// parseURL reads an absolute URL with a host; nothing is nil. Which schemes
// are allowed is up to Validate.
func parseURL(p **url.URL, text string) error {
	if text == "" {
		*p = nil
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return errors.New("want a URL such as https://example.org/")
	}
	*p = u
	return nil
}

// show describes a value of the wrong kind.
func show(raw any) string {
	switch raw := raw.(type) {
	case string:
		return strconv.Quote(raw)
	case []any:
		return fmt.Sprintf("a list of %d", len(raw))
	case map[string]any:
		return "a section with keys"
	}
	return "nothing"
}
