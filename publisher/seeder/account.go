package seeder

import "sync/atomic"

// Totals are bytes of content.
type Totals struct {
	Sent   int64 // that we sent to peers
	Gained int64 // of the pieces that peers said they got while they were connected, from whomever; at least what they were sent
}

func (t Totals) plus(u Totals) Totals { return Totals{t.Sent + u.Sent, t.Gained + u.Gained} }

// account counts what Totals tell. It is safe for concurrent use.
type account struct{ sent, gained atomic.Int64 }

func (a *account) totals() Totals { return Totals{a.sent.Load(), a.gained.Load()} }
