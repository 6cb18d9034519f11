package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

func inspectCommand(p *program) *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "check a saved state and tell what is in it", UsageText: "lockd snapshot inspect FILE",
		Description: "Reads all of the file, without a cluster.\n\nExamples:\nlockd snapshot inspect lockd.snap\nlockd snapshot inspect lockd.snap -o json",
		Action:      p.action(inspectSnapshot),
	}
}

func restoreCommand(p *program) *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "begin a new cluster with a saved state", UsageText: "lockd snapshot restore FILE [flags]",
		Description: `Makes the data directory of the first node of the list. Start that node and then
the others, with empty directories, as the nodes of a new cluster.

The old cluster must be dead: the new one knows its locks no more. All sessions
end; leases and tokens stay, and every new token is above all old ones. Nothing
is granted for a while after the start, so that those who held a lock of the old
cluster notice; --no-wait skips that.

Examples:
lockd snapshot restore lockd.snap --data-dir /var/lib/lockd
lockd snapshot restore lockd.snap --name n1 --data-dir /var/lib/lockd \
--initial-cluster n1=n1:7401,n2=n2:7401,n3=n3:7401`,
		Flags:  settingFlags("name", "cluster-name", "data-dir", "initial-cluster", "token-floor", "no-wait"),
		Action: p.action(restoreSnapshot),
	}
}

// settingFlags are flags for some of the settings of a node.
func settingFlags(names ...string) (flags []cli.Flag) {
	defaults := defaultSettings()
	for _, s := range everySetting() {
		if slices.Contains(names, s.name) {
			s.category = ""
			flags = append(flags, s.flag(defaults))
		}
	}
	return flags
}

// snapshotShown is what is told of a saved state.
type snapshotShown struct {
	File        string   `json:"file"`
	Bytes       int64    `json:"bytes"`
	Saved       string   `json:"saved_at"`
	Index       uint64   `json:"index"`
	Term        uint64   `json:"term"`
	Records     int      `json:"records"`
	Locks       int      `json:"locks"`
	Sessions    int      `json:"sessions"`
	Clock       int64    `json:"cluster_time_ms"`
	Token       uint64   `json:"newest_token"`
	Incarnation string   `json:"incarnation"`
	Voters      []string `json:"voters"`
}

func shownSnapshot(file string, i lockd.SnapshotInfo) snapshotShown {
	return snapshotShown{
		file, i.Bytes, moment(i.Saved), i.Index, i.Term, i.Records, i.Locks, i.Sessions, milliseconds(i.Clock), i.Token,
		hex.EncodeToString(i.Incarnation[:]), append([]string{}, i.Voters...),
	}
}

func inspectSnapshot(_ context.Context, c *call) error {
	args, err := c.args("FILE")
	if err != nil {
		return err
	}
	info, err := lockd.Inspect(args[0])
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(shownSnapshot(args[0], info))
	}
	l := c.list("WHAT", "VALUE")
	for _, row := range [][2]string{
		{"file", args[0] + ", " + megabytes(info.Bytes) + ", whole"},
		{"saved", info.Saved.Local().Format("2006-01-02 15:04:05")},
		{"as of", fmt.Sprintf("index %d, term %d", info.Index, info.Term)},
		{"locks", strconv.Itoa(info.Locks)},
		{"sessions", strconv.Itoa(info.Sessions)},
		{"newest token", strconv.FormatUint(info.Token, 10)},
		{"cluster time", about(info.Clock)},
	} {
		if err := l.add(nil, row[0], row[1]); err != nil {
			return err
		}
	}
	for _, v := range info.Voters {
		if err := l.add(nil, "voter", v); err != nil {
			return err
		}
	}
	return l.end()
}

func restoreSnapshot(ctx context.Context, c *call) error {
	args, err := c.args("FILE")
	if err != nil {
		return err
	}
	settings, err := loadSettings("", c.flags, func(string) bool { return true })
	if err != nil {
		return c.usage("%v", err)
	}
	config, err := settings.config()
	if err != nil {
		return c.usage("%v", err)
	}
	bar := c.progress("restoring")
	options := lockd.RestoreOptions{
		Snapshot: args[0], Name: config.Name, ClusterName: config.ClusterName, DataDir: config.DataDir,
		InitialCluster: config.InitialCluster, TokenFloor: config.TokenFloor, NoWait: config.NoWait,
		Progress: func(read, total int64) { bar.show(float64(read)/float64(max(total, 1)), megabytes(read)) },
	}
	if c.verbose {
		options.Logger = slog.New(slog.NewTextHandler(c.err, nil))
	}
	done, err := lockd.Restore(ctx, options)
	bar.end()
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			snapshotShown
			DataDir string `json:"data_dir"`
			Seed    uint64 `json:"tokens_above"`
			Wait    bool   `json:"waits"`
		}{shownSnapshot(args[0], done.SnapshotInfo), config.DataDir, done.Seed, done.Wait})
	}
	c.say("%s restored into %s: %s, tokens above %d", args[0], config.DataDir, plural(done.Locks, "lock", "locks"), done.Seed)
	if done.Wait {
		c.say("nothing is granted for at least a minute after the start (--no-wait: at once)")
	}
	c.say("start %s with the same flags now, the others with empty directories", config.Name)
	return nil
}
