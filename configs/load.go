package configs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

const (
	envPrefix  = "DROPSEED_"
	configFlag = "config"
	stateName  = ".dropseed" // of the state folder in a source
)

// flagKeys are the flags that set a key.
var flagKeys = []struct{ flag, key, usage string }{
	{"state", "state", "`DIR` for the catalog of releases (default FOLDER/" + stateName + ")"},
	{"http", "http.listen", "`ADDRESS` for pages, .torrent files, tracker, webseed and downloads"},
	{"peers", "peers.listen", "`ADDRESS` for BitTorrent peers"},
	{"udp", "tracker.udp", "`ADDRESS` of the tracker over UDP; empty for none"},
	{"public-url", "http.public_url", "`URL` at which the outside reaches --http (default what a request's Host says)"},
	{"settle", "watch.settle", "publish what was unchanged for so long (`DURATION`)"},
	{"upload-limit", "limits.upload", "`RATE` of everything sent to peers, such as 10MB/s or 100Mbit/s; 0 for unlimited"},
	{"log-format", "log.format", "`text|json`"},
}

// AddConfigFlag defines the one flag that LoadForClient reads.
func AddConfigFlag(flags *pflag.FlagSet) {
	flags.String(configFlag, "", "YAML `FILE` with the configuration")
}

// AddFlags defines the flags that Load reads. Their values are checked by Load,
// together with everything else.
func AddFlags(flags *pflag.FlagSet) {
	AddConfigFlag(flags)
	c := Default()
	fields := fieldsOf(reflect.ValueOf(&c).Elem(), "")
	for _, f := range flagKeys {
		i := slices.IndexFunc(fields, func(field field) bool { return field.key == f.key })
		text := fmt.Sprint(fields[i].value)
		if v := fields[i].value; v.IsZero() && v.Kind() == reflect.Pointer {
			text = ""
		}
		flags.String(f.flag, text, f.usage)
	}
}

// Load returns the configuration that flags (see [AddFlags]; those not defined
// there are left out), the environment and the file they name make together.
// args is empty, or the one FOLDER to watch. The error is [Problems], holding
// all of them.
func Load(flags *pflag.FlagSet, args []string) (Config, error) {
	l := newLoader()
	l.readFile(flags)
	return l.load(flags, args)
}

// LoadForClient is Load for who asks a server rather than being one: nothing need
// be watched.
func LoadForClient(flags *pflag.FlagSet) (Config, error) {
	l := newLoader()
	l.client = true
	l.readFile(flags)
	return l.load(flags, nil)
}

func (l *loader) load(flags *pflag.FlagSet, args []string) (Config, error) {
	for _, p := range l.file.issues {
		l.problems = append(l.problems, p)
		l.fileFailed = l.fileFailed || p.Key == ""
	}
	c := Default()
	l.set(flags, &c)
	l.setSources(&c, args)
	c.derive()

	// A value that could not be parsed has been reported, and so has a file
	// that could not be read; what stands in their place is a default.
	var more Problems
	if problems, ok := c.Validate().(Problems); ok {
		for _, p := range problems {
			p.Origin = l.origin(p.Key)
			if l.client && len(c.Sources) == 0 && p.Key == "sources" {
				continue
			}
			if !l.reported(p.Key) && !(p.Origin == "" && l.fileFailed) {
				more = append(more, p)
			}
		}
	}
	l.problems = append(l.problems, more...)
	if err := l.problems.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// loader is what one Load knows meanwhile.
type loader struct {
	viper      *viper.Viper
	file       *file
	fileFailed bool              // as a whole
	origins    map[string]string // by key, of flags and variables
	problems   Problems
	client     bool // see LoadForClient
}

func newLoader() *loader {
	l := &loader{viper: viper.New(), file: &file{}, origins: map[string]string{}}
	l.viper.AllowEmptyEnv(true)
	return l
}

// readFile reads the file that --config or DROPSEED_CONFIG names, if any.
func (l *loader) readFile(flags *pflag.FlagSet) {
	path, origin := os.Getenv(envPrefix+"CONFIG"), envPrefix+"CONFIG"
	if f := flags.Lookup(configFlag); f != nil && f.Changed {
		path, origin = f.Value.String(), "--"+configFlag
	}
	if path == "" {
		return
	}
	f, err := readFile(path)
	if err != nil {
		l.problems.add("config", origin, "cannot read the configuration file: %v", err)
		l.fileFailed = true
		return
	}
	l.file = f
}

// set fills all keys of c but the sources.
func (l *loader) set(flags *pflag.FlagSet, c *Config) {
	fields := fieldsOf(reflect.ValueOf(c).Elem(), "")
	inFile := map[string]any{}
	for _, f := range fields {
		if f.key != "sources" {
			l.bind(f.key, flags)
			inFile[f.key] = l.file.value(f.key)
		}
	}
	if err := l.viper.MergeConfigMap(inFile); err != nil {
		l.problems.add("", l.file.path, "%v", err)
	}
	l.checkKeys(fields, l.file.values, "")
	l.checkEnviron(fields)
	for _, f := range fields {
		if f.key == "sources" || l.reported(f.key) {
			continue
		}
		if raw := l.viper.Get(f.key); raw != nil {
			if err := set(f.value, raw); err != nil {
				l.problems.add(f.key, l.origin(f.key), "%v", err)
			}
		}
	}
}

// bind lets key's variable and flag override the file.
func (l *loader) bind(key string, flags *pflag.FlagSet) {
	env := envName(key)
	if err := l.viper.BindEnv(key, env); err != nil {
		panic(err) // only for missing arguments
	}
	if _, ok := os.LookupEnv(env); ok {
		l.origins[key] = env
	}
	for _, f := range flagKeys {
		if flag := flags.Lookup(f.flag); f.key == key && flag != nil {
			if err := l.viper.BindPFlag(key, flag); err != nil {
				panic(err) // only for a nil flag
			}
			if flag.Changed {
				l.origins[key] = "--" + f.flag
			}
		}
	}
}

// checkKeys reports what of the file's values is not in fields; values is the
// part of the file called section.
func (l *loader) checkKeys(fields []field, values map[string]any, section string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		key := join(section, name)
		known, nested := false, false
		for _, f := range fields {
			known = known || f.key == key && !strings.Contains(name, ".")
			nested = nested || strings.HasPrefix(f.key, key+".")
		}
		switch sub, ok := values[name].(map[string]any); {
		case known || nested && values[name] == nil:
		case nested && ok:
			l.checkKeys(fields, sub, key)
		case nested:
			l.problems.add(key, l.origin(key), "want a section with keys, got %s", show(values[name]))
		default:
			l.problems.add(key, l.origin(key), "unknown key%s", suggest(fields, section, name))
		}
	}
}

// suggest says which key may be meant by name: a slip of one in the same
// section, else one of that name elsewhere.
func suggest(fields []field, section, name string) string {
	var siblings []string
	elsewhere := ""
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f.key, join(section, "")); ok || section == "" {
			if section == "" {
				rest = f.key
			}
			first, _, _ := strings.Cut(rest, ".")
			siblings = append(siblings, first)
		}
		if strings.HasSuffix(f.key, "."+name) {
			elsewhere = f.key
		}
	}
	if near := nearest(name, siblings, max(1, min(3, len(name)/3))); near != "" {
		return fmt.Sprintf("; did you mean %s?", join(section, near))
	}
	if elsewhere != "" {
		return fmt.Sprintf("; did you mean %s?", elsewhere)
	}
	return ""
}

// checkEnviron reports variables that are almost a key's.
func (l *loader) checkEnviron(fields []field) {
	names := []string{envPrefix + "CONFIG"}
	for _, f := range fields {
		names = append(names, envName(f.key))
	}
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(names, name) || os.Getenv(envPrefix+"EVENT") != "" {
			continue // with DROPSEED_EVENT, this runs in the command of notify, which has such variables
		}
		if near := nearest(name, names, 2); near != "" {
			l.problems.add("", name, "unknown variable; did you mean %s?", near)
		}
	}
	if name := envName("sources"); os.Getenv(name) != "" {
		l.problems.add("sources", name, "can only be set in the file; for one folder, give it as argument")
	}
}

// setSources fills c.Sources from args or else the file. Each starts with the
// settings that c has for all.
func (l *loader) setSources(c *Config, args []string) {
	raw := l.file.value("sources")
	list, ok := raw.([]any)
	if raw != nil && !ok {
		l.problems.add("sources", l.origin("sources"), "want a list, got %s", show(raw))
	}
	for i, item := range list {
		key := fmt.Sprintf("sources[%d]", i)
		values, ok := item.(map[string]any)
		if !ok {
			l.problems.add(key, l.origin(key), "want a section with keys such as path, got %s", show(item))
			continue
		}
		c.Sources = append(c.Sources, l.source(c, key, values))
	}
	switch len(args) {
	case 0:
	case 1:
		s := c.newSource()
		s.Path = args[0]
		c.Sources = []Source{s}
		l.origins["sources[0].path"] = "FOLDER"
		l.origins["sources[0].name"] = "FOLDER"
	default:
		l.problems.add("sources", "FOLDER", "want one folder, got %d: %q", len(args), args)
	}
}

// source reads the item of sources called key.
func (l *loader) source(c *Config, key string, values map[string]any) Source {
	s := c.newSource()
	fields := fieldsOf(reflect.ValueOf(&s).Elem(), key)
	l.checkKeys(fields, values, key)
	for _, f := range fields {
		raw := lookup(values, strings.TrimPrefix(f.key, key+"."))
		if raw == nil {
			continue
		}
		if err := set(f.value, raw); err != nil {
			l.problems.add(f.key, l.origin(f.key), "%v", err)
		}
	}
	return s
}

func (c *Config) newSource() Source {
	return Source{Type: TypeFolder, Watch: c.Watch, Torrent: c.Torrent, Offload: c.Offload}
}

// derive fills what follows from other keys.
func (c *Config) derive() {
	for i := range c.Sources {
		s := &c.Sources[i]
		if s.Name == "" && s.Type == TypeBucket {
			s.Name = s.Bucket.Name
		}
		if s.Name == "" && s.Path != "" {
			if abs, err := filepath.Abs(s.Path); err == nil {
				s.Name = filepath.Base(abs)
			}
		}
	}
	if c.State == "" && len(c.Sources) == 1 && c.Sources[0].Path != "" {
		c.State = filepath.Join(c.Sources[0].Path, stateName)
	}
}

// origin says where key's value came from, or "" for a default.
func (l *loader) origin(key string) string {
	if o := l.origins[key]; o != "" {
		return o
	}
	return l.file.origin(key)
}

func (l *loader) reported(key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == key })
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}
