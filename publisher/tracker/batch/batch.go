// Package batch moves UDP packets many at a time: one system call receives what
// waits in a socket, and one sends all answers. For small packets the calls cost
// as much as the network's work on them.
//
// A [Conn] has a fixed number of slots, each with room for a packet received and
// one to be sent, so nothing is allocated per packet. Where the system has no
// such calls (they are Linux's recvmmsg and sendmmsg), a batch is one packet.
//
// The package knows nothing of what the packets contain.
package batch

// Sizes of a Conn's slots, in bytes.
type Sizes struct {
	In  int // of packets received; longer ones are cut
	Out int // of packets sent, at most
	OOB int // of control messages received
}
