package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// TestTwins drives the store on the disk and its twin by the same random calls and requires the same answers, streams that
// are equal to the byte, and the state of the model.
func TestTwins(t *testing.T) {
	seeds, err := strconv.ParseUint(os.Getenv("LOCKD_SEEDS"), 10, 16)
	if err != nil {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			p := &twins{t: t, random: rand.New(rand.NewPCG(seed, 0)), rigs: [2]rig{diskRig(t), memoryRig(t)}, model: newModel()}
			p.reopen()
			for range 60 {
				p.act()
			}
			p.reopen()
		})
	}
}

type twins struct {
	t      *testing.T
	random *rand.Rand
	rigs   [2]rig
	stores [2]checkpoint.Store
	model  *model
	broken bool // damaged, and nothing has taken its place
}

// both requires the same kind of error, or none, from both.
func (p *twins) both(what string, call func(s checkpoint.Store) error) (failed bool) {
	p.t.Helper()
	kinds, errs := [2]int{}, [2]error{}
	for i, s := range p.stores {
		errs[i] = call(s)
		for k, kind := range []error{checkpoint.ErrOrder, checkpoint.ErrDamaged, checkpoint.ErrTooLarge, checkpoint.ErrInvalid, checkpoint.ErrBadStream} {
			if errors.Is(errs[i], kind) {
				kinds[i] = k + 1
			}
		}
	}
	if kinds[0] != kinds[1] || (errs[0] == nil) != (errs[1] == nil) || errs[0] != nil && kinds[0] == 0 {
		p.t.Fatalf("%s: disk: %v, memory: %v", what, errs[0], errs[1])
	}
	if diff := cmp.Diff(p.stores[0].Head(), p.stores[1].Head()); diff != "" {
		p.t.Fatalf("%s: heads (-disk +memory):\n%s", what, diff)
	}
	return errs[0] != nil
}

func (p *twins) act() {
	switch n := p.random.IntN(100); {
	case n < 60:
		p.flush()
	case n < 75:
		p.snapshot()
	case n < 85:
		p.restore()
	case n < 97:
		p.reopen()
	default:
		p.damage()
	}
}

// flush flushes a random set, now and then one of an entry that was there.
func (p *twins) flush() {
	m := p.model.clone()
	records := make([]checkpoint.Record, p.random.IntN(50))
	for i := range records {
		key := fmt.Sprint("key ", p.random.IntN(80))
		if records[i] = put(key, fmt.Sprint(p.random.Uint64())); p.random.IntN(3) == 0 {
			records[i] = gone(key)
		}
	}
	set := m.set(p.model.head.Index+raft.Index(p.random.IntN(10)), records...)
	if !p.both("flush", func(s checkpoint.Store) error { return s.Flush(set) }) {
		p.model, p.broken = m, false
	}
}

func (p *twins) snapshot() {
	var streams [2][]byte
	failed := p.both("snapshot", func(s checkpoint.Store) error {
		snapshot, err := s.Snapshot()
		if err != nil {
			return err
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(snapshot)
		streams[0], streams[1] = streams[1], b.Bytes()
		return errors.Join(err, snapshot.Close())
	})
	if failed != (p.model.head.Index == 0) || !bytes.Equal(streams[0], streams[1]) {
		p.t.Fatalf("streams of %d and %d bytes differ, or of a state of entry %d, failed: %v", len(streams[0]), len(streams[1]),
			p.model.head.Index, failed)
	}
}

// restore takes the state of another node, which may be behind.
func (p *twins) restore() {
	m := p.model.clone()
	index := max(1, p.model.head.Index+raft.Index(p.random.IntN(20))-min(5, p.model.head.Index))
	records := all(m)
	clear(m.records)
	m.sum = newModel().sum
	mark, stream := sampleStream(p.t, m.set(index, append(records, put("other", fmt.Sprint(index)))...))
	if p.random.IntN(4) == 0 {
		stream[p.random.IntN(len(stream))] ^= 8
	}
	commit := p.random.IntN(4) > 0
	failed := p.both("restore", func(s checkpoint.Store) error {
		staged, err := s.Restore(mark, bytes.NewReader(stream))
		if err != nil {
			return err
		}
		defer staged.Discard()
		if _, err := load(staged); err != nil || !commit {
			return err
		}
		return staged.Commit()
	})
	if !failed && commit {
		m.head.Installed = true
		p.model, p.broken = m, false
	}
}

func (p *twins) reopen() {
	for i, r := range p.rigs {
		if p.stores[i] != nil {
			mustClose(p.t, p.stores[i])
		}
		p.stores[i] = r.open(p.t)
	}
	failed := p.both("load", func(s checkpoint.Store) error {
		records, err := load(s)
		if diff := cmp.Diff(p.model.records, records); diff != "" {
			p.t.Fatalf("records (-want +got):\n%s", diff)
		}
		return err
	})
	if failed != p.broken {
		p.t.Fatalf("load failed: %v, want %v", failed, p.broken)
	}
	p.model.checkHead(p.t, p.stores[0], p.model.head.Installed)
}

func (p *twins) damage() {
	if p.model.head.Index == 0 {
		return
	}
	for i, r := range p.rigs {
		mustClose(p.t, p.stores[i])
		r.damage(p.t)
	}
	p.stores = [2]checkpoint.Store{}
	p.model, p.broken = newModel(), true
	p.reopen()
}

// TestConcurrentUse flushes while others read, restore and keep. Every stream must be whole: Verify computes its hash again.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	m := newModel()
	mustFlush(t, d, m.step(1))
	var given atomic.Uint64 // the last entry whose Flush has begun: a snapshot may see it before Flush has returned
	given.Store(1)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10 {
				least := d.Head().Index
				s, err := d.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				most := raft.Index(given.Load())
				if head, err := checkpoint.Verify(s); err != nil || head.Index < least || head.Index > most {
					t.Errorf("snapshot of entry %d, not of %d to %d: %v", head.Index, least, most, err)
				}
				mustCloseLater(t, s)
			}
		})
	}
	wg.Go(func() {
		if _, err := d.Keep(); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		mark, stream, err := streamOfRestored()
		if err != nil {
			t.Error(err)
			return
		}
		staged, err := d.Restore(mark, stream)
		if err != nil {
			t.Error(err)
			return
		}
		staged.Discard()
	})
	for i := raft.Index(2); i <= 40; i++ {
		given.Store(uint64(i))
		mustFlush(t, d, m.step(i))
	}
	wg.Wait()
	mustClose(t, d)
	m.check(t, openDisk(t, dir), false)
	checkTidy(t, dir)
}

// mustCloseLater is mustClose for a goroutine of a test.
func mustCloseLater(t *testing.T, c io.Closer) {
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
