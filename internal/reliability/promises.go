package reliability

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A Promise is one line of what lockd promises, or does not.
type Promise struct {
	Promise string `json:"promise"`
	// Not marks what is not promised.
	Not bool `json:"not,omitempty"`
	// Repeat is the command that runs the tests at length.
	Repeat string   `json:"repeat,omitempty"`
	Tests  []string `json:"tests,omitempty"`
}

// DecodePromises reads the list of promises.
func DecodePromises(data []byte) ([]Promise, error) {
	promises, err := list[Promise](data)
	if err != nil {
		return nil, err
	}
	var bad []error
	for i, p := range promises {
		switch {
		case p.Promise == "":
			err = errors.New("says nothing")
		case !p.Not && (len(p.Tests) == 0 || p.Repeat == ""):
			err = errors.New("a promise wants tests and a command that repeats them")
		default:
			continue
		}
		bad = append(bad, fmt.Errorf("entry %d (%.40s): %w", i+1, p.Promise, err))
	}
	return promises, errors.Join(bad...)
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// testFiles returns the file of each test below root, relative to the directory of the page: under the test's name if only one file has
// it, and under the directory, a dot and the name.
func testFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at, err := filepath.Rel(filepath.Join(root, filepath.Dir(Page)), name)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		for _, m := range testFunction.FindAllSubmatch(source, -1) {
			test, rel := string(m[1]), at
			if _, taken := files[test]; taken { // neither is meant
				rel = ""
			}
			files[test] = filepath.ToSlash(rel)
			files[filepath.ToSlash(dir)+"."+test] = filepath.ToSlash(at)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	return files, nil
}
