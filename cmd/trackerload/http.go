//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// httpClient is one connection that is kept open, over which one question is asked
// at a time. Its address belongs to one peer of each swarm.
type httpClient struct {
	s      *swarms
	own    member // whose address it comes from
	server *server
	tally  tally

	conn net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte
}

func (l *httpClient) counted() *tally { return &l.tally }

func (l *httpClient) load(ctx context.Context) error {
	for ctx.Err() == nil {
		l.ask(ctx)
	}
	return nil
}

func (l *httpClient) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

func (l *httpClient) ask(ctx context.Context) {
	if l.conn == nil {
		from := l.own.address()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from[:]}, Timeout: answerWait}
		c, err := d.DialContext(ctx, "tcp4", l.server.addr.String())
		if err != nil {
			l.tally.lost++ // a server that closes connections may have no room for more
			time.Sleep(time.Millisecond)
			return
		}
		l.conn, l.in = c, bufio.NewReaderSize(c, 4096)
	}
	q := question{action: actionAnnounce, member: l.s.random()}
	if rand.IntN(20) == 0 {
		q.action = actionScrape
	}
	l.write(q)
	l.conn.SetDeadline(time.Now().Add(answerWait))
	if _, err := l.conn.Write(l.out); err != nil {
		l.close() // the server has closed it
		return
	}
	keep, err := l.read()
	if err != nil {
		l.close()
		if ctx.Err() == nil {
			l.tally.lost++
		}
		return
	}
	l.tally.answers++
	l.check(q)
	if !keep {
		l.close()
	}
}

func (l *httpClient) write(q question) {
	p := l.out[:0]
	if q.action == actionScrape {
		p = append(p, "GET /scrape?info_hash="...)
		p = escape(p, l.s.hashes[q.member.swarm][:])
	} else {
		m := q.member
		id := m.id()
		p = append(p, "GET /announce?info_hash="...)
		p = escape(p, l.s.hashes[m.swarm][:])
		p = append(p, "&peer_id="...)
		p = escape(p, id[:])
		p = append(p, "&port="...)
		p = strconv.AppendInt(p, int64(m.port()), 10)
		p = append(p, "&uploaded=0&downloaded=0&left="...)
		if m.seeder() {
			p = append(p, '0')
		} else {
			p = append(p, "1073741824"...)
		}
		p = append(p, "&numwant=50&compact=1&key="...)
		p = strconv.AppendInt(p, int64(m.index), 16)
	}
	l.out = append(p, " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nConnection: keep-alive\r\n\r\n"...)
}

func escape(p, b []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range b {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			p = append(p, c)
		} else {
			p = append(p, '%', digits[c>>4], digits[c&15])
		}
	}
	return p
}

// read reads an answer into l.body. keep says that the connection stays open.
func (l *httpClient) read() (keep bool, err error) {
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	if !bytes.Contains(line, []byte(" 200 ")) {
		return false, fmt.Errorf("status %q", line)
	}
	keep = bytes.HasPrefix(line, []byte("HTTP/1.1"))
	length := -1
	for {
		if line, err = l.in.ReadSlice('\n'); err != nil {
			return false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(key, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length > maxAnswer {
				return false, fmt.Errorf("length %q", value)
			}
		case bytes.EqualFold(key, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			keep = false
		}
	}
	if length < 0 {
		l.body, err = io.ReadAll(io.LimitReader(l.in, maxAnswer))
		return false, err
	}
	l.body = append(l.body[:0], make([]byte, length)...)
	_, err = io.ReadFull(l.in, l.body)
	return keep, err
}

func (l *httpClient) check(q question) {
	if q.action == actionScrape {
		if !bytes.HasPrefix(l.body, []byte("d5:filesd20:")) {
			l.tally.wrong(fmt.Sprintf("a scrape: %.60q", l.body))
		}
		return
	}
	_, rest, ok := bytes.Cut(l.body, []byte("5:peers"))
	digits, list, ok2 := bytes.Cut(rest, []byte(":"))
	n, err := strconv.Atoi(string(digits))
	if !ok || !ok2 || err != nil || n > len(list) || n%6 != 0 {
		l.tally.wrong(fmt.Sprintf("an announce: %.60q", l.body))
		return
	}
	l.tally.checkPeers(q, list[:n], integer(l.body, "8:complete")+integer(l.body, "10:incomplete"))
}

// integer returns the bencoded integer behind a key.
func integer(b []byte, key string) int {
	_, rest, _ := bytes.Cut(b, []byte(key+"i"))
	digits, _, _ := bytes.Cut(rest, []byte("e"))
	n, _ := strconv.Atoi(string(digits))
	return n
}
