package telemetry_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/internal/telemetry/otlptest"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

var rewrite = flag.Bool("rewrite", false, "write the traces of docs/TRACING.md anew")

const traceFile = "../../docs/TRACING.md"

// shown are the attributes that the page shows, in this order.
var shown = []string{
	"lockd.lock.name", "lockd.outcome", "lockd.token", "lockd.index", "lockd.queue.ahead", "lockd.previous", "raft.index", "raft.term",
}

// TestOneAcquireIsFollowedThroughThreeNodes lets two workers contend for a lock of three nodes, all with exporters of their own to one
// real receiver, and follows the second one's request from its client over a follower and the leader's log to the state machine, and
// its link to the holder that it waited for. What the receiver got is in docs/TRACING.md; with -rewrite it is written there anew.
func TestOneAcquireIsFollowedThroughThreeNodes(t *testing.T) {
	receiver := otlptest.Start(t)
	environ(t, map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + receiver.GRPC,
		"OTEL_TRACES_SAMPLER": "always_on",
	})
	var all []*telemetry.Telemetry
	process := func(service, instance string) trace.TracerProvider {
		all = append(all, setup(t, telemetry.Options{Service: service, Instance: instance}))
		return all[len(all)-1].TracerProvider
	}
	cluster := testcluster.Start(t, 3, func(_ int, c *lockd.Config) {
		c.Memory, c.DataDir, c.TracerProvider = true, "", process("lockd", c.Name)
	})
	leader, followers := roles(t, cluster)
	a := newWorker(t, "worker-a", process("worker-a", ""), cluster.Addresses(followers[0]).Client)
	b := newWorker(t, "worker-b", process("worker-b", ""), cluster.Addresses(followers[1]).Client)

	ctx, importing := a.tracer.Start(t.Context(), "import orders")
	first, err := a.Lock(ctx, "jobs/nightly")
	if err != nil {
		t.Fatal(err)
	}
	queued, granted := make(chan struct{}), make(chan *client.Lock, 1)
	working, reporting := b.tracer.Start(t.Context(), "write report")
	go func() {
		l, err := b.Lock(working, "jobs/nightly", client.OnQueued(func(client.Queued) { close(queued) }))
		if err != nil {
			t.Error(err)
		}
		granted <- l
	}()
	<-queued
	unlock(ctx, t, first)
	importing.End()
	second := <-granted
	if second == nil {
		t.FailNow()
	}
	unlock(working, t, second)
	reporting.End()
	a.close(t)
	b.close(t)
	for i := range 3 {
		cluster.Stop(i)
	}
	for _, one := range all {
		if err := one.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}

	spans := traces{receiver.Spans(), map[string]string{cluster.Name(leader): "the leader", cluster.Name(followers[0]): "a follower", cluster.Name(followers[1]): "a follower"}}
	spans.check(t, importing.SpanContext(), reporting.SpanContext(), cluster.Name(leader), cluster.Name(followers[1]))
	document(t, spans.print(importing.SpanContext().TraceID().String())+"\n"+spans.print(reporting.SpanContext().TraceID().String()))
}

// roles returns who leads and who follows.
func roles(t *testing.T, c *testcluster.Cluster) (leader int, followers []int) {
	t.Helper()
	for i := range 3 {
		s, err := c.Server(i).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Leader == c.Name(i) {
			leader = i
		} else {
			followers = append(followers, i)
		}
	}
	if len(followers) != 2 {
		t.Fatalf("followers: %v", followers)
	}
	return leader, followers
}

// worker is a client that reaches one node only: clients prefer the leader, and here the way over a follower is to be seen.
type worker struct {
	*client.Client
	tracer trace.Tracer
}

func newWorker(t *testing.T, identity string, provider trace.TracerProvider, endpoint string) worker {
	t.Helper()
	c, err := client.New(client.Config{
		Endpoints: []string{endpoint}, Identity: identity, TracerProvider: provider,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			if address != endpoint {
				return nil, fmt.Errorf("%s cannot be reached from here", address)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return worker{c, provider.Tracer("worker")}
}

func (w worker) close(t *testing.T) {
	t.Helper()
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func unlock(ctx context.Context, t *testing.T, l *client.Lock) {
	t.Helper()
	if err := l.Unlock(ctx); err != nil {
		t.Error(err)
	}
}

// traces are spans as they arrived, and what their nodes are.
type traces struct {
	spans []otlptest.Span
	roles map[string]string // by service.instance.id
}

func (s traces) find(t *testing.T, match func(otlptest.Span) bool) otlptest.Span {
	t.Helper()
	i := slices.IndexFunc(s.spans, match)
	if i < 0 {
		t.Fatalf("a span is missing among\n%+v", s.spans)
	}
	return s.spans[i]
}

// child returns the span of this name below a parent.
func (s traces) child(t *testing.T, parent otlptest.Span, name string) otlptest.Span {
	t.Helper()
	return s.find(t, func(c otlptest.Span) bool {
		return c.Name == name && c.Parent == parent.ID && c.TraceID == parent.TraceID
	})
}

// check walks the second worker's request from end to end, and its link.
func (s traces) check(t *testing.T, first, second trace.SpanContext, leader, follower string) {
	t.Helper()
	root := s.find(t, func(c otlptest.Span) bool { return c.ID == second.SpanID().String() })
	wait := s.child(t, root, "lockd.lock.wait")
	s.child(t, root, "lockd.lock.hold")
	acquire := s.child(t, wait, "lockd.v1.Lock/Acquire")
	if on := acquire.Resource["service.instance.id"]; on != follower || acquire.Kind != "SERVER" {
		t.Errorf("the request was served by %s as %s, not by %s", on, acquire.Kind, follower)
	}
	propose := s.child(t, acquire, "raft.propose")
	if on := propose.Resource["service.instance.id"]; on != leader {
		t.Errorf("it was proposed by %s, not by %s", on, leader)
	}
	replicate, apply := s.child(t, propose, "raft.replicate"), s.child(t, propose, "fsm.apply")
	if replicate.Start.Before(propose.Start) || apply.Start.Before(replicate.End) {
		t.Errorf("not in order: %+v, %+v, %+v", propose, replicate, apply)
	}
	if len(wait.Links) != 1 || wait.Links[0].Attributes["lockd.link"] != "blocked_by" || wait.Links[0].TraceID != first.TraceID().String() {
		t.Fatalf("the wait links to %+v", wait.Links)
	}
	holder := s.find(t, func(c otlptest.Span) bool { return c.ID == wait.Links[0].ID })
	if holder.Name != "lockd.lock.wait" || holder.Resource["service.name"] != "worker-a" || holder.Attributes["lockd.token"] != wait.Links[0].Attributes["lockd.token"] {
		t.Errorf("the link goes to %+v", holder)
	}
	for _, span := range s.spans {
		if span.Parent != "" && !slices.ContainsFunc(s.spans, func(p otlptest.Span) bool { return p.ID == span.Parent && p.TraceID == span.TraceID }) {
			t.Errorf("%s on %s hangs on a span that never arrived", span.Name, span.Resource["service.instance.id"])
		}
	}
}

// print returns a trace as a tree.
func (s traces) print(id string) string {
	var b strings.Builder
	root := s.spans[slices.IndexFunc(s.spans, func(c otlptest.Span) bool { return c.TraceID == id && c.Parent == "" })]
	fmt.Fprintf(&b, "trace %s\n", id)
	fmt.Fprintf(&b, "  %9s %9s\n", "begins ms", "takes ms")
	s.printBelow(&b, root, root.Start, 0)
	return b.String()
}

func (s traces) printBelow(b *strings.Builder, span otlptest.Span, zero time.Time, depth int) {
	where := span.Resource["service.name"]
	if node := span.Resource["service.instance.id"]; node != "" {
		where = node + ", " + s.roles[node]
	}
	indent := strings.Repeat("  ", depth)
	line := fmt.Sprintf("  %9.2f %9.2f  %-36s [%s]", milliseconds(span.Start.Sub(zero)), milliseconds(span.End.Sub(span.Start)), indent+span.Name, where)
	fmt.Fprintln(b, line)
	margin := strings.Repeat(" ", 25) + indent
	var notes []string
	for _, name := range shown {
		if value, ok := span.Attributes[name]; ok {
			notes = append(notes, name+"="+value)
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(b, "%s%s\n", margin, strings.Join(notes, " "))
	}
	for _, l := range span.Links {
		to := s.spans[slices.IndexFunc(s.spans, func(c otlptest.Span) bool { return c.ID == l.ID })]
		fmt.Fprintf(b, "%slink %s: %s of %s, trace %s\n", margin, l.Attributes["lockd.link"], to.Name, to.Resource["service.name"], to.TraceID)
	}
	var below []otlptest.Span
	for _, c := range s.spans {
		if c.Parent == span.ID && c.TraceID == span.TraceID {
			below = append(below, c)
		}
	}
	slices.SortStableFunc(below, func(a, b otlptest.Span) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) })
	for _, c := range below {
		s.printBelow(b, c, zero, depth+1)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// varies is what differs from run to run: ids, times, and which node leads.
var varies = regexp.MustCompile(`[0-9a-f]{32}|\d+(\.\d+)?|n\d`)

// steady returns the lines of a text without what varies, each once: a slow machine may repeat a request.
func steady(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(varies.ReplaceAllString(line, "*")), " "))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// document compares the page with what was received, or writes it.
func document(t *testing.T, now string) {
	t.Helper()
	page, err := os.ReadFile(traceFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- generated: traces -->\n\n```\n", "```\n\n<!-- end -->"
	before, rest, found := strings.Cut(string(page), begin)
	old, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for traces", traceFile)
	}
	if *rewrite {
		if err := os.WriteFile(traceFile, []byte(before+begin+now+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want, got := steady(old), steady(now); !slices.Equal(want, got) {
		t.Errorf("%s does not show what is received; run with -rewrite. It shows\n%s\nand received was\n%s", traceFile, strings.Join(want, "\n"), now)
	}
}
