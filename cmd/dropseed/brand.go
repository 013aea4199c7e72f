package main

import (
	"fmt"
	"io"
	"os"

	"dropseed/configs"
	"dropseed/webseed/site"
)

// openBrand reads what the pages look like.
func (s *server) openBrand() error {
	c := s.config.Site
	s.brand = site.Brand{Description: c.Description, Announcement: c.Announcement}
	for _, color := range []struct {
		from configs.Color
		to   **site.Color
	}{{c.Accent, &s.brand.Accent}, {c.AccentDark, &s.brand.AccentDark}} {
		if color.from == "" {
			continue
		}
		parsed, err := site.ParseColor(string(color.from))
		if err != nil {
			return fmt.Errorf("site.accent: %w", err)
		}
		*color.to = &parsed
	}
	if c.Logo == "" {
		return nil
	}
	f, err := os.Open(c.Logo)
	if err != nil {
		return fmt.Errorf("open the logo: %w (set site.logo to another file)", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, site.MaxLogo+1))
	if err != nil {
		return fmt.Errorf("read the logo: %w", err)
	}
	if s.brand.Logo, err = site.NewLogo(c.Logo, b); err != nil {
		return fmt.Errorf("site.logo: %q: %w", c.Logo, err)
	}
	return nil
}
