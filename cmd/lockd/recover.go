package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

func recoverCommand(p *program) *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "begin anew with one survivor, when a majority is lost", UsageText: "lockd cluster recover [flags]",
		Description: `For a cluster that has lost more than half of its voters for good, machines or
disks. Run it on the survivor that has the most of the log, whose lockd must be
stopped: it shows how much that is before it asks. It makes of the data
directory the first node of a new cluster, with all that its log holds. What
the others had decided without this node is lost.

All sessions end; leases and values stay, and every new token is above all old
ones. Nothing is granted for a while after the start, so that those who held a
lock notice; --no-wait skips that. The old directory stays beside the new one.
The other nodes start with empty directories and --join. No old node may run.

Examples:
lockd cluster recover --data-dir /var/lib/lockd
lockd cluster recover --data-dir /var/lib/lockd --yes`,
		Flags: append(settingFlags("data-dir", "token-floor", "no-wait"), &cli.BoolFlag{Name: "yes", Usage: "do it without asking"}),
		Action: p.action(func(ctx context.Context, c *call) error {
			if _, err := c.args(); err != nil {
				return err
			}
			return c.recoverCluster(ctx)
		}),
	}
}

// errNotRecovered ends a recovery that nobody has confirmed.
var errNotRecovered = errors.New("nothing was changed")

func (c *call) recoverCluster(ctx context.Context) error {
	options := lockd.RecoverOptions{
		DataDir: c.flags.String("data-dir"), TokenFloor: c.flags.Uint64("token-floor"), NoWait: c.flags.Bool("no-wait"),
		Confirm: c.confirmRecovery,
	}
	if c.verbose {
		options.Logger = slog.New(slog.NewTextHandler(c.err, nil))
	}
	done, err := lockd.Recover(ctx, options)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(recovered{
			done.Name, done.ClusterName, options.DataDir, done.Before, append([]string{}, done.Voters...), done.Index, done.Term,
			done.Locks, done.Token, done.Seed, done.Wait,
		})
	}
	c.say("%s is the first node of a new cluster %s now, as of entry %d; tokens above %d", done.Name, done.ClusterName, done.Index, done.Seed)
	if done.Before != "" {
		c.say("its old data directory is %s", done.Before)
	}
	if done.Wait {
		c.say("nothing is granted for at least a minute after the start (--no-wait: at once)")
	}
	c.say("start it without --initial-cluster: lockd serve --name %s --data-dir %s --listen-gossip ADDRESS", done.Name, options.DataDir)
	c.say("start the others with empty directories: lockd serve --name NAME --join ADDRESS")
	return nil
}

// recovered is what is told of a recovery.
type recovered struct {
	Name    string   `json:"name"`
	Cluster string   `json:"cluster_name"`
	DataDir string   `json:"data_dir"`
	Before  string   `json:"old_data_dir"`
	Voters  []string `json:"old_voters"`
	Index   uint64   `json:"index"`
	Term    uint64   `json:"term"`
	Locks   int      `json:"locks"`
	Token   uint64   `json:"newest_token"`
	Seed    uint64   `json:"tokens_above"`
	Wait    bool     `json:"waits"`
}

// confirmRecovery shows what a recovery means, and asks unless that was answered on the command line.
func (c *call) confirmRecovery(r lockd.Recovery) error {
	vote := "votes"
	if !r.Votes {
		vote = "is a learner"
	}
	if c.quiet && c.flags.Bool("yes") {
		return nil
	}
	fmt.Fprintf(c.err, `lockd: %s of cluster %s %s
  voters   %s: %d of %d are needed
  log      to entry %d of term %d, of which the first %d are in the saved state
  heard    of term %d%s
If %d of the voters can still run, start them instead: nothing is lost then.
Else this node's log counts, decided or not. What the others decided after it is
lost: grants, releases, renewals. No node of the old cluster may run any more.
`,
		r.Name, r.ClusterName, vote, strings.Join(r.Voters, ", "), r.Needed, len(r.Voters), r.Index, r.Term, r.Checkpoint, r.Heard,
		newer(r), r.Needed)
	if c.flags.Bool("yes") {
		return nil
	}
	if !isTerminal(c.in) {
		return fmt.Errorf("%w: it is to be confirmed, on a terminal or by --yes", errNotRecovered)
	}
	fmt.Fprintf(c.err, "Type the name of the cluster to begin it anew: ")
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != r.ClusterName {
		return errNotRecovered
	}
	return nil
}

// newer says when another node has certainly come further.
func newer(r lockd.Recovery) string {
	if r.Heard > r.Term {
		return ": elections took place later, and another survivor may have more"
	}
	return ""
}
