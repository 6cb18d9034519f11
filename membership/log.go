package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
)

// line is one of memberlist's log.
type line struct {
	level slog.Level
	text  string
}

// suspectBegins and suspectEnds surround the name in the line that memberlist writes when all its ways to probe a member have failed, and
// refutes begins the lines about others that take this node for dead. There is no callback for either; a test of members that lose
// each other sees to it that the words stay what they are.
const (
	suspectBegins = "Suspect "
	suspectEnds   = " has failed, no acks received"
	refutesDoubt  = "Refuting a suspect message"
	refutesDeath  = "Refuting a dead message"
)

// logHandler takes memberlist's log. It is called with locks held, so it only keeps the line for Run.
type logHandler struct{ g *Gossip }

// Enabled implements slog.Handler.
func (logHandler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler; the log has none.
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler; the log has none.
func (h logHandler) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	l, g := parseLine(r.Message), h.g
	if from, reason := g.unheard(l.text); reason != nil {
		g.refuse(from, "", reason)
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if name, ok := suspected(l.text); ok {
		g.counts.Suspicions++
		if m, known := g.members[name]; known {
			g.doubt(m)
		}
	}
	if strings.HasPrefix(l.text, refutesDoubt) || strings.HasPrefix(l.text, refutesDeath) {
		g.counts.Refutations++
	}
	if len(g.lines) < maxWaiting {
		g.lines = append(g.lines, l)
	} else {
		g.unsaid++
	}
	g.notify()
	return nil
}

// unheard returns why somebody cannot be heard, if a line says so: memberlist writes it at each attempt, in words of its own.
func (g *Gossip) unheard(text string) (from string, reason error) {
	text, from, _ = strings.Cut(text, " from=")
	if at, err := netip.ParseAddrPort(from); err == nil {
		from = at.Addr().Unmap().String() // the port is another one each time
	}
	switch _, label, _ := strings.Cut(text, "with unacceptable label "); {
	case label != "":
		return from, fmt.Errorf("it gossips for %s, this node for the cluster %q", strings.TrimSuffix(label, ":"), g.o.ClusterName)
	case strings.Contains(text, "no installed keys could decrypt"):
		return from, fmt.Errorf("it has other gossip keys than this node, which encrypts with %s", g.keyName())
	case strings.Contains(text, "encryption is configured but remote state is not encrypted"):
		return from, fmt.Errorf("it gossips in the clear, this node with %s", g.keyName())
	case strings.Contains(text, "remote state is encrypted and encryption is not configured"):
		return from, errors.New("it encrypts its gossip, and this node has no gossip key")
	}
	return "", nil
}

// keyName names the key that the node encrypts with.
func (g *Gossip) keyName() string {
	if g.o.Keyring == nil {
		return "no gossip key"
	}
	return "the gossip key " + g.o.Keyring.Primary().String()
}

func parseLine(text string) line {
	text = strings.TrimSpace(text)
	level := slog.LevelInfo
	for prefix, l := range map[string]slog.Level{
		"[DEBUG]": slog.LevelDebug, "[INFO]": slog.LevelDebug, "[WARN]": slog.LevelWarn, "[ERR]": slog.LevelWarn, "[ERROR]": slog.LevelWarn,
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			level, text = l, strings.TrimSpace(rest)
			break
		}
	}
	return line{level, strings.TrimPrefix(text, "memberlist: ")}
}

func suspected(text string) (name string, ok bool) {
	name, ok = strings.CutPrefix(text, suspectBegins)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, suspectEnds)
}
