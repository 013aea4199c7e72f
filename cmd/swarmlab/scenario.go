package main

import (
	"fmt"
	"strings"
	"time"
)

// scenario says who downloads what over which lines, and when they come and go.
type scenario struct {
	name  string
	about string

	client  string // the kind of client unless another is asked for
	clients int    // how many come; with late, one more comes after them
	size    byteSize
	files   int // 0 is a single file, else a directory of so many

	originRate bitRate // the origin's line, each way
	up, down   bitRate // each client's line

	gap    time.Duration // between one client's start and the next one's
	leave  bool          // clients leave as soon as they are done
	deaths int           // so many are killed when they have half
	late   bool          // once all are done, one more comes, and it is the one that is measured
}

// maxClients is what a bridge has ports for, less the origin and a late one.
const maxClients = 1000

// scenarios are all that have a name.
func scenarios() []scenario {
	crowd := scenario{
		client: "aria2", clients: 10, size: 128 << 20,
		originRate: 100e6, up: 200e6, down: 200e6,
	}
	like := func(name, about string, change func(*scenario)) scenario {
		s := crowd
		s.name, s.about = name, about
		change(&s)
		return s
	}
	return []scenario{
		like("crowd", "ten at once", func(*scenario) {}),
		like("crowd30", "thirty at once", func(s *scenario) { s.clients = 30 }),
		like("home", "ten at once on lines that send a tenth of what they receive", func(s *scenario) { s.up = 20e6 }),
		like("arrivals", "one more every two seconds", func(s *scenario) { s.gap = 2 * time.Second }),
		like("churn", "clients leave once they are done, and a third die half way", func(s *scenario) { s.leave, s.deaths = true, s.clients/3 }),
		like("late", "one more comes when the crowd is done and seeding; only that one is measured", func(s *scenario) { s.late = true }),
		like("alone", "one client", func(s *scenario) { s.clients = 1 }),
		like("many", "ten at once, a tree of 3,000 small files", func(s *scenario) { s.size, s.files = 64<<20, 3000 }),
		like("mixed", "all BitTorrent clients together, and two that cannot do it", func(s *scenario) { s.client = "mixed" }),
	}
}

func findScenario(name string) (scenario, error) {
	var names []string
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return scenario{}, fmt.Errorf("no scenario is called %q; there are %s", name, strings.Join(names, ", "))
}

// machines is the number of clients, the late one included.
func (s scenario) machines() int {
	if s.late {
		return s.clients + 1
	}
	return s.clients
}

// limit is the least time in which everybody who is measured can have the
// content, were it a fluid: no origin and no protocol is faster.
func (s scenario) limit() time.Duration {
	switch {
	case s.late:
		return max(s.down.in(s.size), fluidLimit(1, s.size, s.originRate+bitRate(s.clients)*s.up, s.down, s.up))
	case s.deaths > 0:
		// The dead may have sent at full speed all the time, for the others.
		all := (s.originRate + bitRate(s.clients)*s.up).in(s.size * byteSize(s.clients-s.deaths))
		return max(s.originRate.in(s.size), s.down.in(s.size), all)
	}
	last := s.gap*time.Duration(s.clients-1) + s.down.in(s.size) // the last to come receives it all at its own speed
	return max(last, fluidLimit(s.clients, s.size, s.originRate, s.down, s.up))
}

// fluidLimit is max(S/C, S/d, N·S/(C+ΣU)): size S from an origin that sends at
// C to n peers that receive at d and send at U each.
func fluidLimit(n int, size byteSize, origin, down, up bitRate) time.Duration {
	return max(
		origin.in(size),
		down.in(size),
		(origin + bitRate(n)*up).in(size*byteSize(n)),
	)
}

// check returns what is wrong with a scenario whose figures were changed.
func (s scenario) check() error {
	switch {
	case s.clients < 1 || s.clients > maxClients:
		return fmt.Errorf("there can be 1 to %d clients, not %d", maxClients, s.clients)
	case s.files < 0 || s.files > 100_000 || byteSize(s.files) > s.size:
		return fmt.Errorf("%s cannot be spread over %d files", s.size, s.files)
	case s.gap < 0:
		return fmt.Errorf("a gap of %v makes no sense", s.gap)
	}
	return nil
}
