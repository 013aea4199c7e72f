package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// bitRate is a line's speed in bits per second. It is a flag's value.
type bitRate int64

// byteSize is an amount of content in bytes. It is a flag's value.
type byteSize int64

// Units by their suffix, longest first where one ends another.
var (
	rateUnits = []unit{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}
	sizeUnits = []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}
)

// Bounds that keep products of rates, sizes and machines far from overflowing.
const (
	maxRate = 100e9
	maxSize = 100 << 30
)

type unit struct {
	suffix string
	worth  int64
}

func parseUnits(text string, units []unit, most int64) (int64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no number with a unit", text)
		}
		n *= float64(u.worth)
		if !(n >= 1 && n <= float64(most)) { // NaN too
			return 0, fmt.Errorf("%s is not between 1 and %d", text, most)
		}
		return int64(n), nil
	}
	var known []string
	for _, u := range units {
		known = append(known, u.suffix)
	}
	return 0, fmt.Errorf("%q does not end in one of %s", text, strings.Join(known, ", "))
}

func formatUnits(n int64, units []unit) string {
	for _, u := range units {
		if n >= u.worth && n%u.worth == 0 {
			return strconv.FormatInt(n/u.worth, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + units[len(units)-1].suffix
}

// Set parses a rate such as 100Mbit.
func (r *bitRate) Set(text string) error {
	n, err := parseUnits(text, rateUnits, maxRate)
	if err == nil {
		*r = bitRate(n)
	}
	return err
}

func (r bitRate) String() string { return formatUnits(int64(r), rateUnits) }
func (r bitRate) Type() string   { return "RATE" }

// in returns how long size takes at rate r.
func (r bitRate) in(size byteSize) time.Duration {
	return time.Duration(float64(size) * 8 / float64(r) * float64(time.Second))
}

// Set parses a size such as 128MiB.
func (s *byteSize) Set(text string) error {
	n, err := parseUnits(text, sizeUnits, maxSize)
	if err == nil {
		*s = byteSize(n)
	}
	return err
}

func (s byteSize) String() string { return formatUnits(int64(s), sizeUnits) }
func (s byteSize) Type() string   { return "SIZE" }
