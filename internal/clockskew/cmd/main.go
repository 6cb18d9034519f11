// Cmd writes the overlay with which the clocks of a test can be moved into a directory, and prints the name of the file for
// "go build -overlay".
//
//	go run ./internal/clockskew/cmd DIR
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/lockd/lockd/internal/clockskew"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "clockskew:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("say the directory to write to, and nothing else")
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	overlay, err := clockskew.Overlay(strings.TrimSpace(string(goroot)), args[0])
	if err == nil {
		_, err = fmt.Fprintln(out, overlay)
	}
	return err
}
