// Scorecard writes docs/RELIABILITY.md, and shows the bugs of the track record on the commits that had them.
//
//	go run ./internal/reliability/scorecard -write
//	go run ./internal/reliability/scorecard -reproduce ID|all
//
// A bug is shown in a clone of the repository in a temporary directory, never in the work tree: the test that came with the fix must
// fail on the commit before it, and pass on it. A bug whose test needs what came later is planted again in the present source, and its
// test must notice. When that was so, today's date is noted in internal/reliability/trackrecord.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/lockd/lockd/internal/reliability"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scorecard:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("scorecard", flag.ContinueOnError)
	root := flags.String("root", ".", "the repository")
	write := flags.Bool("write", false, "write "+reliability.Page)
	bug := flags.String("reproduce", "", "show the bug of this `ID` on its old commit, or all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *bug != "" {
		if err := reproduce(ctx, *root, *bug, out); err != nil {
			return err
		}
	}
	if !*write {
		if *bug == "" {
			return errors.New("nothing to do: -write or -reproduce")
		}
		return nil
	}
	page, err := reliability.Generate(*root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*root, reliability.Page), page, 0o644)
}
