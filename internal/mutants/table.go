package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A mutant is one planted bug: an exact replacement in one file, and the test that must find it.
type mutant struct {
	name  string
	file  string   // relative to the root of the repository
	test  []string // go test and its arguments
	seeds int      // 0: the test's own number
	old   string   // whole lines, without the indentation of the table
	new   string   // may be empty
	where string   // file and line of the stanza
	table string   // directory of the table, relative to the root
}

// find reads every table of the repository, and checks that each mutant fits the source as it is now.
func find(root string) ([]mutant, error) {
	var all []mutant
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || name != root && isModule(name)):
			return fs.SkipDir
		case entry.IsDir() || entry.Name() != "mutants.txt":
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parse(name, string(data))
		dir, relErr := filepath.Rel(root, filepath.Dir(name))
		for i := range parsed {
			parsed[i].table = filepath.ToSlash(dir)
		}
		err = errors.Join(err, relErr)
		all = append(all, parsed...)
		return err
	})
	if err != nil {
		return nil, err
	}
	names := make(map[string]string)
	var misfits []error // all at once: a change of the source moves many
	for _, m := range all {
		if first, ok := names[m.name]; ok {
			misfits = append(misfits, fmt.Errorf("%s: mutant %s stands in %s already", m.where, m.name, first))
		}
		names[m.name] = m.where
		if _, err := m.apply(root); err != nil {
			misfits = append(misfits, err)
		}
	}
	return all, errors.Join(misfits...)
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// parse reads one table. Stanzas are separated by empty lines; a line that begins with # is a comment.
func parse(name, text string) ([]mutant, error) {
	var all []mutant
	var m *mutant
	var block *string // the old or new that indented lines belong to
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		if body, ok := strings.CutPrefix(line, "  "); ok && block != nil {
			*block += body + "\n"
			continue
		}
		if strings.TrimSpace(line) == "" {
			if block != nil && *block != "" { // an empty line of the source, or between stanzas: complete trims the latter
				*block += "\n"
			}
			continue
		}
		block = nil
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not key: value", where, line)
		}
		value = strings.TrimSpace(value)
		if key == "mutant" {
			all = append(all, mutant{name: value, where: where})
			m = &all[len(all)-1]
			continue
		}
		if m == nil {
			return nil, fmt.Errorf("%s: %s stands before the first mutant", where, key)
		}
		var err error
		if block, err = m.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: mutant %s: %w", where, m.name, err)
		}
	}
	for i := range all {
		if err := all[i].complete(); err != nil {
			return nil, fmt.Errorf("%s: mutant %s: %w", all[i].where, all[i].name, err)
		}
	}
	return all, nil
}

// set stores one key, and returns the block that the lines after it belong to.
func (m *mutant) set(key, value string) (block *string, err error) {
	switch key {
	case "file":
		m.file = value
	case "test":
		m.test, err = fields(value)
	case "seeds":
		m.seeds, err = strconv.Atoi(value)
	case "old", "new":
		if value != "|" {
			return nil, fmt.Errorf("%s: wants | and indented lines", key)
		}
		if key == "old" {
			return &m.old, nil
		}
		return &m.new, nil
	default:
		err = fmt.Errorf("unknown key %q", key)
	}
	return nil, err
}

func (m *mutant) complete() error {
	m.old, m.new = trimEnd(m.old), trimEnd(m.new)
	switch {
	case m.name == "" || m.file == "" || m.old == "":
		return errors.New("wants a name, a file and an old text")
	case len(m.test) < 3 || m.test[0] != "go" || m.test[1] != "test":
		return errors.New("wants a test that begins with go test and names a package")
	case strings.HasSuffix(m.file, "_test.go"):
		return errors.New("mutates a test")
	case m.old == m.new:
		return errors.New("changes nothing")
	case m.seeds < 0:
		return errors.New("wants a positive number of seeds")
	}
	return nil
}

// trimEnd leaves one line end, or an empty text.
func trimEnd(s string) string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return ""
	}
	return s + "\n"
}

// apply returns the mutated text of the file.
func (m *mutant) apply(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", fmt.Errorf("%s: mutant %s: %w", m.where, m.name, err)
	}
	// Whole lines only: the text begins at the beginning of a line.
	text := "\n" + string(data)
	if n := strings.Count(text, "\n"+m.old); n != 1 {
		return "", fmt.Errorf("%s: mutant %s: its old text stands %d times in %s; it must stand once", m.where, m.name, n, m.file)
	}
	return strings.Replace(text, "\n"+m.old, "\n"+m.new, 1)[1:], nil
}

// fields splits a command at blanks, but not within single quotes.
func fields(command string) ([]string, error) {
	var words []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	if strings.Count(command, "'")%2 == 1 {
		return nil, fmt.Errorf("test: an open quote in %q", command)
	}
	return words, nil
}
