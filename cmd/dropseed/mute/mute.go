// Package mute keeps bubbletea from asking the terminal for its background
// colour. It asks when the program starts, whatever the command, writes an escape
// sequence for it and waits five seconds where no terminal answers, such as on
// the console of a container. Nothing here depends on that colour.
//
// It works since Go initializes packages in the order of their paths, if what
// they import allows it; so this one must not import bubbletea.
package mute

import "github.com/charmbracelet/lipgloss"

func init() { lipgloss.SetHasDarkBackground(true) }
