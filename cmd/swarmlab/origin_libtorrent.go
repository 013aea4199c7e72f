//go:build linux

package main

import "context"

func libtorrentOrigin() origin {
	return libtorrentSeed("libtorrent", "libtorrent seeding as it comes, opentracker")
}

func superSeedingOrigin() origin {
	return libtorrentSeed("libtorrent-super", "libtorrent with its super-seeding, opentracker", "super_seeding")
}

func libtorrentSeed(name, about string, flags ...string) origin {
	return origin{
		name: name, about: about, needs: []string{"mktorrent", "opentracker", "python3-libtorrent"}, torrent: true,
		start: func(ctx context.Context, s site) (*offer, error) {
			path, err := s.makeTorrent(ctx, s.announce(), "")
			if err != nil {
				return nil, err
			}
			t, err := s.startTracker(ctx, path)
			if err != nil {
				return nil, err
			}
			command, err := libtorrentJob{
				Torrent: path, Out: s.content.folder, Listen: s.at(6881), Flags: append([]string{"seed_mode"}, flags...),
			}.command(s.path())
			if err != nil {
				return nil, err
			}
			p, err := s.start(s.host, command...)
			if err != nil {
				return nil, err
			}
			return &offer{torrent: t.bytes}, s.waitForSeed(ctx, t, p)
		},
	}
}
