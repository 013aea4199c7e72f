package batch

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

func TestPacketsAreReceivedAndAnswered(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
			if network == "udp6" {
				at.IP = net.IPv6loopback
			}
			conn, err := net.ListenUDP(network, at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c, err := New(conn, 8, Sizes{In: 10, Out: 100})
			if err != nil {
				t.Fatal(err)
			}
			client, err := net.DialUDP(network, nil, conn.LocalAddr().(*net.UDPAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			const packets = 50
			for i := range packets {
				fmt.Fprintf(client, "packet %04d", i) // one byte is cut
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			for got := 0; got < packets; {
				n, err := c.Receive()
				if err != nil || n < 1 || n > 8 {
					t.Fatalf("Receive = %d, %v", n, err)
				}
				for i := range n {
					p, _ := c.In(i)
					if from := c.From(i); from != client.LocalAddr().(*net.UDPAddr).AddrPort() {
						t.Errorf("from %v, want %v", from, client.LocalAddr())
					}
					c.Reply(i, append(append(c.Out(), "re: "...), p...), nil)
				}
				if c.Queued() == 0 {
					t.Error("nothing is queued")
				}
				if err := c.Flush(); err != nil || c.Queued() != 0 {
					t.Errorf("Flush: %v, %d left", err, c.Queued())
				}
				got += n
			}
			client.SetReadDeadline(time.Now().Add(10 * time.Second))
			for i := range packets {
				var b [100]byte
				n, err := client.Read(b[:])
				if want := fmt.Sprintf("re: packet %03d", i/10); err != nil || string(b[:n]) != want {
					t.Fatalf("answer %d: %q, %v; want %q", i, b[:n], err, want)
				}
			}
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if n, err := c.Receive(); !os.IsTimeout(err) {
				t.Errorf("Receive after the deadline: %d, %v", n, err)
			}
		})
	}
}
