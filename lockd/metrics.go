package lockd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
)

// classesMax bounds Config.LockClasses: each class is a set of histograms.
const classesMax = 64

// otherClass is the class of every name without one of the configured prefixes.
const otherClass = "other"

// Boundaries of histograms, in seconds.
var (
	shortBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	longBounds  = []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400}
)

// metrics are the instruments of a node. What happens often has its attributes made beforehand. Names of locks are never among them:
// only the configured classes are.
type metrics struct {
	meter   metric.Meter
	classes []string // prefixes, the longest first
	leads   atomic.Bool
	term    atomic.Uint64 // of the newest leader that was seen

	calls        metric.Float64Histogram
	waits, holds metric.Float64Histogram
	lost         metric.Int64Counter

	fsync, commit, apply, round, late metric.Float64Histogram
	elections, expired, unfit, slow   metric.Int64Counter
	snapshots                         metric.Int64Counter

	flush, delayed, kept metric.Float64Histogram
	flushed              metric.Int64Counter

	badFrames, goodbyes, overloaded, noQuorum metric.Int64Counter
	keepAlives, forwarded                     metric.Int64Counter
	clients, nodes                            atomic.Int64

	callSets map[call][]metric.RecordOption
	sets     []classSets // in the order of classes; the last one is for all others
}

// call is a kind of answer.
type call struct {
	kind wire.Type
	code wire.Code
}

// classSets are the attributes of what is told of one class.
type classSets struct {
	waits map[locktable.Code][]metric.RecordOption
	holds map[locktable.How][]metric.RecordOption
	lost  map[locktable.How][]metric.AddOption
}

// newMetrics makes the instruments. A nil provider makes ones that do nothing.
func newMetrics(provider metric.MeterProvider, classes []string) (*metrics, error) {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	if err := checkClasses(classes); err != nil {
		return nil, err
	}
	m := &metrics{meter: provider.Meter(instrument), classes: slices.Clone(classes)}
	slices.SortStableFunc(m.classes, func(a, b string) int { return len(b) - len(a) })
	m.makeSets()
	k := &maker{meter: m.meter}
	m.makeLockInstruments(k)
	m.makeRaftInstruments(k)
	m.makeFrontInstruments(k)
	if err := errors.Join(k.errs...); err != nil {
		return nil, fmt.Errorf("lockd: make metrics: %w", err)
	}
	return m, nil
}

// checkClasses is called by Config.Validate too.
func checkClasses(classes []string) error {
	if len(classes) > classesMax {
		return fmt.Errorf("LockClasses has %d prefixes; %d are the most", len(classes), classesMax)
	}
	for i, c := range classes {
		switch {
		case c == "" || c == otherClass:
			return fmt.Errorf("LockClasses: %q cannot be a prefix: it stands for all other names", c)
		case len(c) > locktable.NameMax:
			return fmt.Errorf("LockClasses: a prefix has %d bytes; %d are the most", len(c), locktable.NameMax)
		case slices.Contains(classes[:i], c):
			return fmt.Errorf("LockClasses names %q twice", c)
		}
	}
	return nil
}

func (m *metrics) makeLockInstruments(k *maker) {
	m.waits = k.histogram("lockd.lock.wait.duration", "From a request for a lock to its end, in cluster time. Counted by the leader.", longBounds)
	m.holds = k.histogram("lockd.lock.hold.duration", "From a grant to the end of the hold, in cluster time. Counted by the leader.", longBounds)
	m.lost = k.counter("lockd.lock.lost", "{hold}", "Holds that their holders did not end. Counted by the leader.")
	m.expired = k.counter("lockd.session.expired", "{session}", "Sessions whose time ran out. Counted by the leader.")
	m.flush = k.histogram("lockd.checkpoint.flush.duration", "To make a set of changes durable in the checkpoint.", shortBounds)
	m.flushed = k.counter("lockd.checkpoint.flushed", "{record}", "Records written to the checkpoint.")
	m.delayed = k.histogram("lockd.checkpoint.delay.duration", "How long entries were held up by a checkpoint that cannot follow.", shortBounds)
	m.kept = k.histogram("lockd.checkpoint.keep.duration", "To keep a verified copy of the checkpoint.", longBounds)
}

func (m *metrics) makeRaftInstruments(k *maker) {
	m.fsync = k.histogram("lockd.raft.fsync.duration", "To make a batch of the log durable.", shortBounds)
	m.commit = k.histogram("lockd.raft.commit.duration", "From a command's proposal to its commit. Counted by the leader.", shortBounds)
	m.apply = k.histogram("lockd.raft.apply.duration", "Of the batch of entries that a command was applied in. Counted by the leader.", shortBounds)
	m.round = k.histogram("lockd.raft.round.duration", "Of a quorum round that confirms sessions.", shortBounds)
	m.late = k.histogram("lockd.leader.late.duration", "How much too late turns of the leader came.", shortBounds)
	m.elections = k.counter("lockd.raft.elections", "{election}", "Leaders that this node has seen begin.")
	m.unfit = k.counter("lockd.leader.unfit", "{time}", "Times that this node gave leadership away because it was too slow.")
	m.slow = k.counter("lockd.raft.slow_writes", "{write}", "Writes to the log that took unusually long.")
	m.snapshots = k.counter("lockd.raft.snapshots", "{snapshot}", "Snapshots that were sent or received, or could not be.")
}

func (m *metrics) makeFrontInstruments(k *maker) {
	m.calls = k.histogram("rpc.server.call.duration", "From a request's arrival to its answer.", shortBounds)
	m.badFrames = k.counter("lockd.wire.bad_frames", "{frame}", "Frames whose body was not of the shape of its type, and streams that made no sense.")
	m.goodbyes = k.counter("lockd.wire.goodbyes", "{connection}", "Connections that this node refused or closed, by the reason.")
	m.overloaded = k.counter("lockd.overloaded", "{refusal}", "Requests and connections refused because too much waits.")
	m.noQuorum = k.counter("lockd.no_quorum", "{time}", "Times that clients were told of a node without a quorum.")
	m.keepAlives = k.counter("lockd.keepalives.forwarded", "{keepalive}", "KeepAlives sent on to the leader.")
	m.forwarded = k.counter("lockd.commands.forwarded", "{command}", "Commands sent on to the leader.")
}

// maker makes instruments and collects what goes wrong.
type maker struct {
	meter metric.Meter
	errs  []error
}

func (k *maker) histogram(name, description string, bounds []float64) metric.Float64Histogram {
	h, err := k.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
	k.errs = append(k.errs, err)
	return h
}

func (k *maker) counter(name, unit, description string) metric.Int64Counter {
	c, err := k.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	k.errs = append(k.errs, err)
	return c
}

// makeSets makes the attributes of all that happens often.
func (m *metrics) makeSets() {
	for _, class := range append(slices.Clone(m.classes), otherClass) {
		of := attribute.String("lockd.lock.class", class)
		c := classSets{
			waits: make(map[locktable.Code][]metric.RecordOption),
			holds: make(map[locktable.How][]metric.RecordOption), lost: make(map[locktable.How][]metric.AddOption),
		}
		for _, end := range []locktable.Code{locktable.Granted, locktable.TimedOut, locktable.Cancelled} {
			c.waits[end] = []metric.RecordOption{set(of, attribute.String("lockd.wait.end", end.String()))}
		}
		for _, end := range []locktable.How{locktable.Released, locktable.Closed, locktable.HandedOn} {
			c.holds[end] = []metric.RecordOption{set(of, attribute.String("lockd.hold.end", end.String()))}
		}
		for _, end := range []locktable.How{locktable.Expired, locktable.Broken, locktable.Forgotten} {
			c.holds[end] = []metric.RecordOption{set(of, attribute.String("lockd.hold.end", end.String()))}
			c.lost[end] = []metric.AddOption{set(of, attribute.String("lockd.hold.end", end.String()))}
		}
		m.sets = append(m.sets, c)
	}
	m.makeCallSets()
}

// applied notes what an entry ended. The leader counts for all, so that what the nodes tell can be added up.
func (m *metrics) applied(a replica.Applied) {
	if len(a.Timings) == 0 || !m.leads.Load() {
		return
	}
	for _, t := range a.Timings {
		sets := &m.sets[m.class(t.Name)]
		if t.How == locktable.NotEnded {
			seconds(m.waits, t.Took, sets.waits[t.Code]...)
			continue
		}
		seconds(m.holds, t.Took, sets.holds[t.How]...)
		if lost := sets.lost[t.How]; lost != nil {
			m.lost.Add(nobody(), 1, lost...)
		}
	}
}

// class returns the place of the longest prefix of a name.
func (m *metrics) class(name string) int {
	for i, prefix := range m.classes {
		if strings.HasPrefix(name, prefix) {
			return i
		}
	}
	return len(m.classes)
}

func set(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

// nobody is the context of what is recorded: the instruments look in it for a span, and there is none.
func nobody() context.Context { return context.Background() } //nolint:forbidigo // see above

func seconds(h metric.Float64Histogram, d time.Duration, o ...metric.RecordOption) {
	h.Record(nobody(), d.Seconds(), o...)
}
