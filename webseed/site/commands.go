package site

import (
	"encoding/hex"
	"strings"

	"dropseed/publisher/catalog"
)

// command is something to paste into a shell.
type command struct {
	Tool string // or what it is for
	Line string
}

// commands are what fetches a release, and checks it.
func (s *Site) commands(base string, c *catalog.Content) []command {
	torrent := shellQuote(base + "/torrents/" + c.InfoHash.HexString() + ".torrent")
	file := c.Files[0].Path
	out := shellQuote(file)
	if strings.HasPrefix(file, "-") {
		out = shellQuote("./" + file)
	}
	if !c.IsFile {
		out += " --create-dirs"
	}
	curl := command{"curl, resumes", "curl -C - -o " + out + " " + shellQuote(s.o.FileURL(base, file))}
	if len(c.Files) > 1 {
		curl.Tool = "curl, one file"
	}
	list := []command{
		{"aria2", "aria2c --seed-time=0 " + torrent},
		{"Transmission", "transmission-cli -w . " + torrent},
		{"qBittorrent", "qbittorrent " + torrent},
		curl,
	}
	if check := checkLine(base, c); check != "" {
		list = append(list, command{"Check it afterwards", check})
	}
	return list
}

// checkLine is what checks the files of a release that was fetched, or "" if
// their checksums are not known.
func checkLine(base string, c *catalog.Content) string {
	sum, ok := c.SHA256(0)
	switch {
	case !ok:
		return ""
	case !c.IsFile:
		return "curl -s " + shellQuote(base+"/SHA256SUMS") + " | sha256sum -c --ignore-missing"
	case strings.ContainsAny(c.Name, "\n\r\\"):
		return "" // sha256sum has a spelling of its own for these
	}
	return "echo " + shellQuote(hex.EncodeToString(sum[:])+"  "+c.Name) + " | sha256sum -c"
}

// shellQuote makes a word of a POSIX shell of any text.
func shellQuote(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:%@+,") == ""
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
