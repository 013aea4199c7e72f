package status

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	_ "dropseed/cmd/dropseed/mute"
)

// every is how long after an answer the next is asked for.
const every = time.Second

// Watch shows snapshots on a terminal, first the given one, until the user quits
// or ctx ends. While the server does not answer it shows the last one, and says so.
func Watch(ctx context.Context, c *Client, first Snapshot, in io.Reader, out io.Writer) error {
	m := newModel(first, func() (Snapshot, error) { return c.Fetch(ctx) }, looks())
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled) {
		return nil
	}
	return err
}

// looks are those that the terminal shows: no colour if NO_COLOR is set.
func looks() Looks {
	if os.Getenv("TERM") == "dumb" {
		return Looks{}
	}
	l := Looks{
		Heading: ansi.Style{}.Bold().Styled,
		Faint:   ansi.Style{}.Faint().Styled,
		Alarm:   ansi.Style{}.ForegroundColor(ansi.Red).Styled,
	}
	if os.Getenv("NO_COLOR") != "" {
		l.Alarm = l.Heading
	}
	return l
}

// model is what is shown. It is a value, as bubbletea has it.
type model struct {
	fetch         func() (Snapshot, error)
	looks         Looks
	last          Snapshot
	err           error // why there is no newer one
	width, height int
}

// The messages, beside those of the terminal.
type (
	answer struct {
		snapshot Snapshot
		err      error
	}
	due struct{} // it is time to ask again
)

func newModel(first Snapshot, fetch func() (Snapshot, error), l Looks) model {
	return model{fetch: fetch, looks: l, last: first}
}

func (m model) ask() tea.Msg {
	s, err := m.fetch()
	return answer{s, err}
}

// later is one message, after a while: there is one request at a time, and the
// next is not sent before the last was answered.
func later() tea.Cmd { return tea.Tick(every, func(time.Time) tea.Msg { return due{} }) }

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return later() }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	case due:
		return m, m.ask
	case answer:
		if m.err = msg.err; m.err == nil {
			m.last = msg.snapshot
		}
		return m, later()
	}
	return m, nil
}

// View implements tea.Model.
func (m model) View() string {
	foot := m.looks.faint("q quits · as of " + m.last.At.Format(time.TimeOnly))
	if m.err != nil {
		foot = m.looks.alarm(clean(m.err.Error())) + "\n" + foot
	}
	body := m.last.Text(m.width, max(m.height-3, 0), m.looks) + "\n"
	if m.width > 0 {
		foot = ansi.Wrap(foot, m.width, "")
	}
	return body + foot
}
