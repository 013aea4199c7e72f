package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// Bounds of a file of accounts.
const (
	maxFile = 1 << 20 // bytes
	maxName = 255     // bytes of an account's name
	maxCost = 14      // of bcrypt: a second or so. One more doubles it
)

// maxPassword is how many bytes of a password bcrypt looks at.
const maxPassword = 72

// accountCost is the cost of hashes that are made here.
const accountCost = bcrypt.DefaultCost

// Bounds of what is remembered and waited for.
const (
	maxRemembered = 1024
	checkPatience = 10 * time.Second
)

// checksAtOnce is how many passwords are checked at a time: others have to be
// served meanwhile.
func checksAtOnce() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// account is a line of an htpasswd file.
type account struct {
	hash  string
	cost  int // of the hash
	level level
}

// accounts are what the files hold at one time. It dies with the next.
type accounts struct {
	of   map[string]account // by name
	cost int                // of the costliest

	flight singleflight.Group // of checks of the same password

	mu   sync.Mutex // guards the field below
	good map[[32]byte]level
}

// readAccounts reads the files of viewers and operators; "" is none.
func readAccounts(viewers, operators string) (*accounts, error) {
	all := &accounts{of: make(map[string]account), good: make(map[[32]byte]level)}
	for _, from := range []struct {
		path  string
		level level
	}{{viewers, viewer}, {operators, operator}} {
		if from.path == "" {
			continue
		}
		text, err := readFile(from.path)
		if err != nil {
			return nil, fmt.Errorf("read the accounts: %w", err)
		}
		hashes, err := parseHtpasswd(text)
		if err != nil {
			return nil, fmt.Errorf("read the accounts in %s: %w", from.path, err)
		}
		for name, hash := range hashes {
			cost, err := bcrypt.Cost([]byte(hash))
			if err != nil {
				return nil, fmt.Errorf("read the accounts in %s: %w", from.path, err)
			}
			all.of[name] = account{hash, cost, from.level}
		}
	}
	all.cost = bcrypt.MinCost
	for _, a := range all.of {
		all.cost = max(all.cost, a.cost)
	}
	return all, nil
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return string(b), err
}

// bcryptHash is the hash of a password as htpasswd -B writes it.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// parseHtpasswd reads lines of NAME:HASH, and returns the hashes by name. Empty
// lines and those that begin with # are comments. Its errors do not repeat
// what is in a line.
func parseHtpasswd(text string) (map[string]string, error) {
	hashes := make(map[string]string)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || !goodName(name) {
			return nil, fmt.Errorf("line %d: want NAME:HASH, such as dropseed account hash NAME prints", n)
		}
		if _, twice := hashes[name]; twice {
			return nil, fmt.Errorf("line %d: the account is there already", n)
		}
		match := bcryptHash.FindStringSubmatch(hash)
		if match == nil {
			return nil, fmt.Errorf("line %d: want a hash of bcrypt, which begins with $2y$: make it with dropseed account hash NAME, or htpasswd -B", n)
		}
		if cost, err := strconv.Atoi(match[1]); err != nil || cost < bcrypt.MinCost || cost > maxCost {
			return nil, fmt.Errorf("line %d: want a cost of bcrypt from %d to %d, got %s", n, bcrypt.MinCost, maxCost, match[1])
		}
		hashes[name] = hash
	}
	return hashes, nil
}

func goodName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && strings.TrimSpace(name) == name &&
		name[0] != '#' && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' })
}

// Line returns an account's line in an htpasswd file.
func Line(name, password string) (string, error) {
	if !goodName(name) {
		return "", fmt.Errorf("make an account: want a name without colon, of 1 to %d bytes, got %q", maxName, name)
	}
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("make an account: want a password of 1 to %d bytes, got %d", maxPassword, len(password))
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), accountCost)
	if err != nil {
		return "", fmt.Errorf("make an account: %w", err)
	}
	// Apache's programs know it as 2y, and it is the same.
	return name + ":$2y" + strings.TrimPrefix(string(hash), "$2a"), nil
}

// verify returns what an account may see if the password is its own.
func (all *accounts) verify(a *Access, client netip.Addr, name, password string) (level, verdict) {
	digest := a.digest("account", name, password)
	all.mu.Lock()
	is := all.good[digest]
	all.mu.Unlock()
	if is != nobody {
		return is, verdict{}
	}
	type result struct {
		level   level
		verdict verdict
	}
	// A page makes many requests at once, and they all say the same.
	key := client.String() + "\x00" + string(digest[:])
	got, _, _ := all.flight.Do(key, func() (any, error) {
		undo, wait := a.failures.Reserve(client) // before it is known to be one: many may guess at once
		if wait > 0 {
			return result{verdict: tooMany(wait)}, nil
		}
		is, err := all.check(a.checks, name, password)
		if err != nil {
			undo()
			return result{verdict: verdict{http.StatusServiceUnavailable, "Too many people are logging in at the moment. Try again soon.", checkPatience}}, nil
		}
		if is != nobody {
			undo()
			all.remember(digest, is)
		}
		return result{level: is}, nil
	})
	r := got.(result)
	return r.level, r.verdict
}

var errBusy = errors.New("too many passwords are being checked")

// check compares a password with an account's, which takes long. If it is wrong,
// that takes as long for an account that does not exist, and whatever its hash costs.
func (all *accounts) check(checks chan struct{}, name, password string) (level, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience)
	defer cancel()
	select {
	case checks <- struct{}{}:
		defer func() { <-checks }()
	case <-ctx.Done():
		return nobody, errBusy
	}
	of, ok := all.of[name]
	if !ok {
		of = account{dummy(all.cost), all.cost, nobody}
	}
	if bcrypt.CompareHashAndPassword([]byte(of.hash), []byte(password)) == nil {
		return of.level, nil
	}
	for cost := of.cost; cost < all.cost; cost++ { // each takes twice as long: all together as long as the costliest
		_ = bcrypt.CompareHashAndPassword([]byte(dummy(cost)), []byte(password))
	}
	return nobody, nil
}

// dummy is a hash of a cost; whatever fits it is of no use.
func dummy(cost int) string { return fmt.Sprintf("$2y$%02d$%s", cost, strings.Repeat(".", 53)) }

func (all *accounts) remember(digest [32]byte, is level) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.good) >= maxRemembered {
		for some := range all.good {
			delete(all.good, some)
			break
		}
	}
	all.good[digest] = is
}
