package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

const defaultHTTPPort = "7403"

func (p *program) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Category: groupOperate, Usage: "save the state of a cluster, restore it, look into it", UsageText: "lockd snapshot COMMAND",
		Description: "Examples:\nlockd snapshot save lockd.snap\nlockd snapshot inspect lockd.snap",
		Subcommands: []*cli.Command{
			{
				Name: "save", Usage: "save the state of a running node to a file", UsageText: "lockd snapshot save FILE [flags]",
				Description: "The file is written beside its name and renamed when it is whole. - is standard\noutput.\n\nExamples:\nlockd snapshot save lockd-$(date +%F).snap --http n1:7403",
				Flags: []cli.Flag{&cli.StringFlag{
					Name: "http", EnvVars: []string{"LOCKD_HTTP"}, Value: "127.0.0.1:" + defaultHTTPPort, Usage: "HTTP port of a node, `HOST:PORT`",
				}},
				Action: p.action(saveSnapshot),
			},
			inspectCommand(p), restoreCommand(p),
		},
	}
}

// saved is what is told of a snapshot that was saved.
type saved struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Took  int64  `json:"took_ms"`
}

func saveSnapshot(ctx context.Context, c *call) error {
	args, err := c.args("FILE")
	if err != nil {
		return err
	}
	began := time.Now()
	body, err := c.openSnapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	if args[0] == "-" {
		_, err = io.Copy(c.out, body)
		return err
	}
	n, err := c.writeFile(args[0], body)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if c.json {
		return c.printJSON(saved{args[0], n, milliseconds(took)})
	}
	c.say("%s saved, %s in %s; look into it: lockd snapshot inspect %s", args[0], megabytes(n), about(took), args[0])
	return nil
}

// openSnapshot asks a node for the stream.
func (c *call) openSnapshot(ctx context.Context) (io.ReadCloser, error) {
	address := withPort(c.flags.String("http"), defaultHTTPPort)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/snapshot", nil)
	if err != nil {
		return nil, c.usage("--http: %v", err)
	}
	response, err := (&http.Client{Transport: &http.Transport{ResponseHeaderTimeout: c.timeout()}}).Do(request)
	if err != nil {
		return nil, &failure{code: exitUnavailable, err: err, hint: "--http names the HTTP port of a node (its --listen-http)"}
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	const textMax = 1 << 10
	why, _ := io.ReadAll(io.LimitReader(response.Body, textMax))
	_ = response.Body.Close() // it is refused
	return nil, fmt.Errorf("%s refuses a snapshot: %s: %s", address, response.Status, strings.TrimSpace(string(why)))
}

// writeFile writes a file that has its name only when it is whole and on the disk.
func (c *call) writeFile(name string, from io.Reader) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), os.Remove(f.Name()))
		}
	}()
	bar := c.progress("saving")
	defer bar.end()
	n, err = io.Copy(f, &watched{Reader: from, bar: bar})
	if err != nil {
		return n, fmt.Errorf("the stream broke after %s: %w", megabytes(n), err)
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), name)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// watched tells how much was read.
type watched struct {
	io.Reader
	bar *progress
	n   int64
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.n += int64(n)
	w.bar.show(-1, megabytes(w.n))
	return n, err
}
