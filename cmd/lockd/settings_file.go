package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSettingsFile bounds what is read for a file of settings.
const maxSettingsFile = 1 << 20

// loaded is the settings with where each of them comes from: "flag --name", "LOCKD_NAME", "file:line" or "default".
type loaded struct {
	settings
	from map[string]string // by name
}

// flagged is how the command line and the environment are asked for a setting.
type flagged interface {
	IsSet(name string) bool
	String(name string) string
	Bool(name string) bool
}

// loadSettings reads the file, if there is one, and lets the environment and then the flags stand above it. Every error is
// reported, with the place it is in.
func loadSettings(file string, flags flagged, given func(name string) bool) (*loaded, error) {
	l := &loaded{settings: *defaultSettings(), from: map[string]string{}}
	var errs []error
	if file != "" {
		errs = append(errs, l.readFile(file)...)
	}
	for _, s := range everySetting() {
		if !flags.IsSet(s.name) {
			continue
		}
		l.from[s.name] = s.variable()
		if given(s.name) {
			l.from[s.name] = "flag --" + s.name
		}
		value := flags.String(s.name)
		if _, ok := s.field(&l.settings).(*bool); ok {
			value = fmt.Sprint(flags.Bool(s.name))
		}
		if err := set(s.field(&l.settings), value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.from[s.name], err))
		}
	}
	return l, errors.Join(errs...)
}

// readFile reads a YAML file of keys and values.
func (l *loaded) readFile(file string) []error {
	data, err := readBounded(file)
	if err != nil {
		return []error{err}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return []error{fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(document.Content) == 0 {
		return nil // empty
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("%s:%d: not a list of keys with values", file, root.Line)}
	}
	var errs []error
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if err := l.take(file, key, value, seen); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, key.Line, err))
		}
	}
	return errs
}

// take takes one key of the file.
func (l *loaded) take(file string, key, value *yaml.Node, seen map[string]int) error {
	all := everySetting()
	i := slices.IndexFunc(all, func(s setting) bool { return s.key() == key.Value })
	if i < 0 {
		known := make([]string, len(all))
		for i, s := range all {
			known[i] = s.key()
		}
		return fmt.Errorf("unknown key %q%s", key.Value, didYouMean(key.Value, known, ""))
	}
	if line, ok := seen[key.Value]; ok {
		return fmt.Errorf("%s stands in line %d already", key.Value, line)
	}
	seen[key.Value] = key.Line
	l.from[all[i].name] = fmt.Sprintf("%s:%d", file, key.Line)
	field := all[i].field(&l.settings)
	if list, ok := field.(*[]string); ok && value.Kind == yaml.SequenceNode {
		if err := value.Decode(list); err != nil {
			return fmt.Errorf("%s: not a list of texts", key.Value)
		}
		return nil
	}
	if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
		return fmt.Errorf("%s: a value is missing, or not a single one", key.Value)
	}
	if err := set(field, value.Value); err != nil {
		return fmt.Errorf("%s: %w", key.Value, err)
	}
	return nil
}

// readBounded reads a file that is not too long.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSettingsFile+1))
	err = errors.Join(err, f.Close())
	if err == nil && len(data) > maxSettingsFile {
		err = fmt.Errorf("--config: %s is larger than %d bytes", file, maxSettingsFile)
	}
	return data, err
}

// print writes the settings in force as a file that could be read again, with where each of them comes from.
func (l *loaded) print(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range everySetting() {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: s.key()}
		value := new(yaml.Node)
		var encoded any = text(s.field(&l.settings))
		switch p := s.field(&l.settings).(type) {
		case *bool:
			encoded = *p
		case *int:
			encoded = *p
		case *uint64:
			encoded = *p
		case *[]string:
			encoded = *p
		}
		if err := value.Encode(encoded); err != nil {
			return err
		}
		if value.Kind == yaml.SequenceNode {
			value.Style = yaml.FlowStyle
		}
		value.LineComment = orElse(l.from[s.name], "default")
		root.Content = append(root.Content, key, value)
	}
	out, err := yaml.Marshal(root)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// secretWords are in the names of variables that may hold what must not be shown.
var secretWords = []string{"HEADERS", "KEY", "SECRET", "PASSWORD", "TOKEN", "CREDENTIAL"}

// telemetryEnvironment returns the variables that decide where telemetry goes, those with secrets masked.
func telemetryEnvironment(environ []string) []string {
	var found []string
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "OTEL_") {
			continue
		}
		if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(name, w) }) {
			v = name + "=(masked)"
		}
		found = append(found, v)
	}
	slices.Sort(found)
	return found
}
