package rig

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is a server to be built: a main package.
type Program struct {
	Name    string // of the file
	Package string
	Module  string // whose versions of dependencies it is built with; default those of this module
}

// Build compiles programs into dir and returns their files by their names.
func Build(ctx context.Context, dir string, programs ...Program) (map[string]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, p := range programs {
		if files[p.Name] != "" {
			continue
		}
		files[p.Name] = filepath.Join(dir, p.Name)
		where := ""
		if p.Module != "" {
			out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", p.Module).Output()
			if err != nil {
				return nil, fmt.Errorf("find %s: %w", p.Module, err)
			}
			where = strings.TrimSpace(string(out))
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-o", files[p.Name], p.Package)
		cmd.Dir = where
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", p.Package, err, out)
		}
	}
	return files, nil
}
