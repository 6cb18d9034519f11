package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

const keyringHelp = `All nodes of a cluster share a key that encrypts their gossip. A node takes its
first one from --gossip-key-file and keeps its keys in its data directory. To
change the key: install a new one on all nodes, use it, remove the old one.
Every step needs all nodes of the cluster, and the same step again is safe.

Examples:
lockd keyring generate > gossip.key
lockd keyring install < gossip.key
lockd keyring use 1f2e3d4c5b6a7988
lockd keyring remove 8897a6b5c4d3e2f1`

func (p *program) keyringCommand() *cli.Command {
	step := func(name, usage string, kind lockd.KeyOrderKind) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, UsageText: "lockd keyring " + name + " KEY-ID [flags]", Flags: []cli.Flag{httpFlag()},
			Description: "KEY-ID names a key, as lockd keyring list shows it.\n\nExamples:\nlockd keyring " + name + " 1f2e3d4c5b6a7988",
			Action: p.action(func(ctx context.Context, c *call) error {
				args, err := c.args("KEY-ID")
				if err != nil {
					return err
				}
				if _, err := membership.ParseKeyID(args[0]); err != nil {
					return c.usage("%v", err)
				}
				return c.tell(c.give(ctx, "/keyring", lockd.KeyOrder{Kind: kind, Key: args[0]}))
			}),
		}
	}
	return &cli.Command{
		Name: "keyring", Category: groupOperate, Usage: "see and change the keys of the gossip", UsageText: "lockd keyring COMMAND",
		Description: keyringHelp,
		Subcommands: []*cli.Command{
			{
				Name: "generate", Usage: "draw a key", UsageText: "lockd keyring generate",
				Description: "Prints a new key, which is a secret. Nothing else is done with it.\n\nExamples:\nlockd keyring generate > gossip.key",
				Action:      p.action(generateKey),
			},
			{
				Name: "list", Usage: "list the keys of every node", UsageText: "lockd keyring list [flags]",
				Description: "Keys are told by their names, which tell nothing of them.\n\nExamples:\nlockd keyring list",
				Flags:       []cli.Flag{httpFlag()}, Action: p.action(listKeys),
			},
			{
				Name: "install", Usage: "let all nodes know a new key", UsageText: "lockd keyring install [flags] < FILE",
				Description: "The key is read from standard input, so that no list of processes shows it.\n\nExamples:\nlockd keyring install < gossip.key",
				Flags:       []cli.Flag{httpFlag()}, Action: p.action(installKey),
			},
			step("use", "encrypt with a key that all nodes know", lockd.KeyUse),
			step("remove", "forget a key that no node encrypts with", lockd.KeyRemove),
		},
	}
}

func generateKey(_ context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.out, membership.NewKey())
	return err
}

func installKey(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	const most = 1 << 10
	text, err := io.ReadAll(io.LimitReader(c.in, most))
	if err != nil {
		return err
	}
	k, err := membership.ParseKey(string(text))
	if err != nil {
		return c.usage("standard input: %v", err)
	}
	done, err := c.give(ctx, "/keyring", lockd.KeyOrder{Kind: lockd.KeyInstall, Key: k.String()})
	done.Done += "; next: lockd keyring use " + k.ID().String()
	return c.tell(done, err)
}

// keysShown are the keys of a node.
type keysShown struct {
	Node    string   `json:"node"`
	Primary string   `json:"primary"` // that it encrypts with
	Keys    []string `json:"keys"`
}

func listKeys(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	var gossip []lockd.GossipMember
	if err := c.http(ctx, http.MethodGet, "/gossip", nil, &gossip); err != nil {
		return err
	}
	l := c.list("node", "ENCRYPTS WITH", "KNOWS TOO")
	for _, g := range gossip {
		if g.Status != "alive" {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(g.Keys), func(k string) bool { return k == g.Key })
		if err := l.add(keysShown{g.Name, g.Key, g.Keys}, g.Name, orDash(g.Key), orDash(strings.Join(others, " "))); err != nil {
			return err
		}
	}
	return l.end()
}
