package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

const doctorHelp = `Looks for what keeps a node or its cluster from working well, and says what to
do. On the machine of a node that runs it asks that node, which tries every
other one: ports, gossip by UDP and TCP, clocks, versions, keys, the quorum, and
its own disk, processors and limits. Where none runs it tries what a first start
needs, with the settings of "lockd serve". It changes nothing; it writes a
hundred small records to the disk of the data directory.

Exit code 1: there is a problem. Warnings alone end with 0.

Examples:
lockd doctor
lockd doctor --config /etc/lockd.yaml
lockd doctor --data-dir /var/lib/lockd --listen-raft n1:7401 \
--initial-cluster n1=n1:7401,n2=n2:7401,n3=n3:7401
lockd doctor --http 127.0.0.1:7413 -o json`

func (p *program) doctorCommand() *cli.Command {
	flags := []cli.Flag{
		httpFlag(),
		&cli.StringFlag{Name: "config", EnvVars: []string{"LOCKD_CONFIG"}, Usage: "YAML `FILE` of settings, as for lockd serve"},
	}
	return &cli.Command{
		Name: "doctor", Category: groupOperate, Usage: "find what is wrong, before the first start and later", UsageText: "lockd doctor [flags]",
		Description: doctorHelp,
		Flags: append(flags, settingFlags("name", "cluster-name", "data-dir", "initial-cluster", "join", "bootstrap-expect", "listen-client", "listen-raft",
			"listen-gossip", "listen-http", "advertise-client", "advertise-raft", "advertise-gossip", "tls-cert", "tls-key", "tls-ca", "tls-client-ca",
			"min-free", "max-connections")...),
		Action: p.action(examine),
	}
}

// Verdicts of a finding.
const (
	verdictOK      = "ok"
	verdictWarning = "warning"
	verdictProblem = "problem"
)

// finding is one thing that was looked at.
type finding struct {
	Check   string `json:"check"`
	Of      string `json:"of"` // a node, an address or a path
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Do      string `json:"do,omitempty"`
}

// findings are made one by one. The check and whose it is stand for all that follow.
type findings struct{ list []finding }

func (f *findings) ok(check, of, format string, args ...any) {
	f.list = append(f.list, finding{check, of, verdictOK, fmt.Sprintf(format, args...), ""})
}

func (f *findings) warn(check, of, do, format string, args ...any) {
	f.list = append(f.list, finding{check, of, verdictWarning, fmt.Sprintf(format, args...), do})
}

func (f *findings) problem(check, of, do, format string, args ...any) {
	f.list = append(f.list, finding{check, of, verdictProblem, fmt.Sprintf(format, args...), do})
}

// count returns how many have a verdict.
func (f *findings) count(verdict string) (n int) {
	for _, one := range f.list {
		if one.Verdict == verdict {
			n++
		}
	}
	return n
}

func examine(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	given := func(name string) bool { return slices.Contains(c.given, name) }
	settings, err := loadSettings(c.flags.String("config"), c.flags, given)
	if err != nil {
		return &failure{code: exitUsage, err: err, hint: "see: lockd help doctor"}
	}
	f := &findings{}
	node, err := c.consult(ctx, settings)
	switch {
	case err != nil:
		return err
	case node != nil:
		c.say("%s runs here: it was asked to look at itself and at the others", node.Node)
		f.host(node.Host, settings)
		f.peers(node)
		f.versions(node)
		f.cluster(ctx, c, node.Joined)
	default:
		c.say("no node runs here: this is what a first start would find")
		if err := f.start(ctx, settings); err != nil {
			return err
		}
	}
	return c.printFindings(f)
}

// consult asks the node of this machine; nil if none runs.
func (c *call) consult(ctx context.Context, l *loaded) (*lockd.Checkup, error) {
	named := c.flags.IsSet("http") // then there must be one
	if !named && l.ListenHTTP == lockd.Off {
		return nil, nil //nolint:nilnil // there is no way to ask
	}
	if !named {
		if err := c.flags.Set("http", here(l.ListenHTTP)); err != nil {
			return nil, err
		}
	}
	var node lockd.Checkup
	err := c.http(ctx, http.MethodPost, "/doctor", bytes.NewReader([]byte("{}")), &node)
	unreached, isFailure := errors.AsType[*failure](err)
	switch {
	case err == nil:
		return &node, nil
	case isFailure && unreached.code == exitUnavailable && !named:
		return nil, nil //nolint:nilnil // nobody listens there
	case strings.Contains(err.Error(), "404 page not found"):
		return nil, fmt.Errorf("the node at %s knows no doctor: it is of an earlier version, or not of lockd", c.flags.String("http"))
	}
	return nil, err
}

// cluster asks the node about the cluster as a whole.
func (f *findings) cluster(ctx context.Context, c *call, joined bool) {
	if !joined {
		f.warn("quorum", "cluster", "look at its log: it says whom it waits for; with --join, \"lockd cluster init\" founds one",
			"the node has not found its cluster yet")
	} else {
		var h lockd.ClusterHealth
		err := c.http(ctx, http.MethodGet, "/cluster/health", nil, &h)
		f.quorum(&h, err)
	}
	var gossip []lockd.GossipMember
	if err := c.http(ctx, http.MethodGet, "/gossip", nil, &gossip); err != nil {
		f.problem("keys", "cluster", "", "%v", err)
		return
	}
	f.keys(gossip)
}

// printFindings writes them, and what to do below each.
func (c *call) printFindings(f *findings) error {
	l := c.list("VERDICT", "CHECK", "OF", "FOUND")
	verdict, check, of := 0, 0, 0
	for _, one := range f.list {
		verdict, check, of = max(verdict, len(one.Verdict)), max(check, len(one.Check)), max(of, len(one.Of))
	}
	width := max(columns(c.out), defaultColumns) - verdict - check - of - 3*gap
	for _, one := range f.list {
		if c.json {
			if err := l.add(one); err != nil {
				return err
			}
			continue
		}
		lead := []string{one.Verdict, one.Check, one.Of}
		lines := wrap(one.Found, max(width, shortest))
		if one.Do != "" {
			lines = append(lines, wrap("→ "+one.Do, max(width, shortest))...)
		}
		for _, line := range lines {
			if err := l.add(nil, append(lead, line)...); err != nil {
				return err
			}
			lead = []string{"", "", ""}
		}
	}
	if err := l.end(); err != nil {
		return err
	}
	problems, warnings := f.count(verdictProblem), f.count(verdictWarning)
	if problems > 0 {
		return &failure{code: exitFailure, err: fmt.Errorf("%s, %s", plural(problems, "problem", "problems"), plural(warnings, "warning", "warnings"))}
	}
	c.say("no problem, %s", plural(warnings, "warning", "warnings"))
	return nil
}
