package replica_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/raft"
)

// keepingStore keeps copies in memory.
type keepingStore struct {
	*checkpoint.Memory
	media *copies
}

// copies is what outlives a keepingStore.
type copies struct {
	checkpoint.Media

	mu     sync.Mutex // guards the fields below
	stream []byte
	mark   raft.Mark
	at     []time.Time
	fail   error
}

// kept returns the entry of the copy.
func (c *copies) kept() raft.Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mark.Index
}

func (c *copies) setFail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

func (c *copies) open() *keepingStore { return &keepingStore{checkpoint.OpenMemory(&c.Media), c} }

func (s *keepingStore) Keep() (raft.Mark, error) {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	if s.media.fail != nil {
		return raft.Mark{}, s.media.fail
	}
	snapshot, err := s.Snapshot()
	if err != nil {
		return raft.Mark{}, err
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(snapshot); err != nil {
		return raft.Mark{}, err
	}
	s.media.stream, s.media.mark = b.Bytes(), snapshot.Mark()
	s.media.at = append(s.media.at, time.Now())
	return s.media.mark, snapshot.Close()
}

func (s *keepingStore) Kept() (raft.Snapshot, error) {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	if s.media.stream == nil {
		return nil, fs.ErrNotExist
	}
	if _, err := checkpoint.Verify(bytes.NewReader(s.media.stream)); err != nil {
		return nil, err
	}
	return keptCopy{bytes.NewReader(s.media.stream), s.media.mark}, nil
}

type keptCopy struct {
	*bytes.Reader
	mark raft.Mark
}

func (k keptCopy) Mark() raft.Mark { return k.mark }
func (keptCopy) Close() error      { return nil }

// alone turns a history into that of a cluster of one node.
func alone(seed uint64, n int) *history {
	h := newHistory(seed, n)
	for i, e := range h.entries {
		if e.Kind() == raft.KindConfig {
			h.entries[i] = raft.NewEntry(e.Position(), raft.KindConfig, configOf("a").AppendBinary(nil))
		}
		h.configs[raft.Index(i+1)] = []string{"a"}
	}
	return h
}

// drive applies a history within a time and returns when copies were kept, counted from its begin.
func drive(t *testing.T, h *history, during time.Duration) (kept []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		media := &copies{}
		r := mustOpen(t, replica.Options{Store: media.open()})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		for i := raft.Index(1); i <= h.last(); i++ {
			h.apply(t, r, i, i)
			time.Sleep(during / time.Duration(len(h.entries)))
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		for _, at := range media.at {
			kept = append(kept, at.Sub(began))
		}
	})
	return kept
}

// A copy is kept as soon as there is something, and then each hour; by the only voter each ten minutes.
func TestKeepsCopiesInTime(t *testing.T) {
	const during = 3 * time.Hour
	for name, c := range map[string]struct {
		h     *history
		every time.Duration
	}{"OneOfThree": {newHistory(21, 1000), replica.KeepEvery}, "OnlyVoter": {alone(21, 1000), replica.KeepEveryAlone}} {
		t.Run(name, func(t *testing.T) {
			kept := drive(t, c.h, during)
			if len(kept) == 0 || kept[0] > 5*time.Second {
				t.Fatalf("kept at %v: the first copy is late", kept)
			}
			for i, at := range kept[1:] {
				if gap := at - kept[i]; gap < c.every || gap > c.every+time.Second {
					t.Errorf("%v between two copies, not %v", gap, c.every)
				}
			}
			if want := int(during / c.every); len(kept) < want || len(kept) > want+1 {
				t.Errorf("%d copies in %v", len(kept), during)
			}
		})
	}
}

// TestL13LogIsKeptForTheCopy compares Mark with what is durable and with the copy: the only voter's log may go no further than
// the copy, that of others may.
func TestL13LogIsKeptForTheCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, only := range []bool{true, false} {
			h := newHistory(22, 300)
			if only {
				h = alone(22, 300)
			}
			media := &copies{}
			store := media.open()
			r := mustOpen(t, replica.Options{Store: store})
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- r.Run(ctx) }()
			h.apply(t, r, 1, 100)
			time.Sleep(time.Minute)
			if mark := r.Mark(); mark.Index != 100 || media.kept() != 100 {
				t.Errorf("only voter %v: the mark is at %d, the copy at %d", only, mark.Index, media.kept())
			}
			media.setFail(errors.New("no room"))
			h.apply(t, r, 101, 300)
			time.Sleep(2 * time.Hour)
			want := raft.Index(300)
			if only {
				want = 100
			}
			if mark := r.Mark(); mark.Index != want || store.Head().Index != 300 {
				t.Errorf("only voter %v: the mark is at %d, the copy at %d, durable is %d", only, mark.Index, media.kept(), store.Head().Index)
			}
			media.setFail(nil)
			time.Sleep(time.Minute)
			if mark := r.Mark(); mark.Index != 300 || media.kept() != 300 {
				t.Errorf("only voter %v: the mark is at %d, the copy at %d", only, mark.Index, media.kept())
			}
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestL13DamagedCheckpoint damages the checkpoint of the only voter: the next start rebuilds the state from the copy, and the
// log brings the rest; without a copy, or with a bad one, it begins with nothing and says so.
func TestL13DamagedCheckpoint(t *testing.T) {
	h := alone(23, 400)
	grown := func(t *testing.T) *copies {
		media := &copies{}
		store := media.open()
		r := mustOpen(t, replica.Options{Store: store})
		if err := r.Damaged(); err != nil {
			t.Fatal(err)
		}
		h.apply(t, r, 1, 200)
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Keep(); err != nil {
			t.Fatal(err)
		}
		h.apply(t, r, 201, 300)
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
		media.Damage()
		return media
	}
	for name, c := range map[string]struct {
		spoil func(*copies)
		from  raft.Index
	}{
		"Copy":    {func(*copies) {}, 200},
		"NoCopy":  {func(c *copies) { c.stream = nil }, 0},
		"BadCopy": {func(c *copies) { c.stream[len(c.stream)/2] ^= 4 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			media := grown(t)
			c.spoil(media)
			r := mustOpen(t, replica.Options{Store: media.open()})
			if err := r.Damaged(); !errors.Is(err, checkpoint.ErrDamaged) {
				t.Errorf("damaged: %v", err)
			}
			if at := r.AppliedIndex(); at != c.from || r.Mark().Index != c.from {
				t.Fatalf("begins with entry %d, mark %d, not %d", at, r.Mark().Index, c.from)
			}
			h.check(t, r)
			h.apply(t, r, c.from+1, h.last())
			h.check(t, r)
			if err := r.FlushAll(); err != nil {
				t.Fatal(err)
			}
			r = mustOpen(t, replica.Options{Store: media.open()})
			if err := r.Damaged(); err != nil || r.AppliedIndex() != h.last() {
				t.Errorf("the start after: entry %d, %v", r.AppliedIndex(), err)
			}
			h.check(t, r)
		})
	}
}
