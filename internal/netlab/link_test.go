package netlab

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// packet is one of IP version 4 with a number behind its header.
func packet(n, size int) []byte {
	p := make([]byte, max(size, 24))
	p[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint32(p[20:], uint32(n))
	return p
}

func number(p []byte) int { return int(binary.BigEndian.Uint32(p[20:])) }

// wire is a link that nothing runs but the test, in the test's time.
type wire struct {
	*link
	now  time.Time
	came []int
}

func newWire(seed uint64, is Link) *wire {
	w := &wire{now: time.Unix(1000, 0)}
	w.link = newLink(rand.New(rand.NewPCG(seed, 1)), func(p []byte) error {
		w.came = append(w.came, number(p))
		return nil
	})
	w.is = is
	return w
}

// after lets time pass, and sends what becomes due.
func (w *wire) after(d time.Duration) {
	w.now = w.now.Add(d)
	for {
		p, _ := w.leave(w.now)
		if p == nil {
			return
		}
		w.send(p)
	}
}

func (w *wire) passAll(n int) {
	for i := range n {
		w.pass(packet(i, 0), w.now)
	}
}

func TestLinkPassesAtOnce(t *testing.T) {
	w := newWire(1, Link{})
	w.passAll(3)
	if !slices.Equal(w.came, []int{0, 1, 2}) || w.stats.Passed != 3 || w.stats.Bytes != 72 {
		t.Fatalf("%v came, %+v", w.came, w.stats)
	}
}

func TestLinkDelays(t *testing.T) {
	w := newWire(1, Link{Delay: time.Second})
	w.passAll(2)
	w.after(time.Second - 1)
	if len(w.came) > 0 {
		t.Fatalf("%v came too early", w.came)
	}
	w.after(1)
	if len(w.came) != 2 || w.stats.Delayed != 2 {
		t.Fatalf("%v came, %+v", w.came, w.stats)
	}
}

func TestLinkTellsWhenToLookAgain(t *testing.T) {
	w := newWire(1, Link{Delay: time.Second})
	w.passAll(1)
	select {
	case <-w.wake:
	default:
		t.Fatal("nobody was woken")
	}
	if p, next := w.leave(w.now); p != nil || next != time.Second {
		t.Fatalf("%v, look again in %v", p, next)
	}
}

func TestJitterKeepsTheOrder(t *testing.T) {
	w := newWire(1, Link{Jitter: time.Second})
	for i := range 100 {
		w.pass(packet(i, 0), w.now)
		w.after(time.Millisecond)
	}
	early := len(w.came)
	w.after(time.Second)
	if len(w.came) != 100 || early > 50 || !slices.IsSorted(w.came) {
		t.Fatalf("%d came early, then %v", early, w.came)
	}
}

func TestReorderedPacketsArePassed(t *testing.T) {
	w := newWire(1, Link{Reorder: 0.1})
	w.passAll(100)
	w.after(heldBack)
	held := int(w.stats.Reordered)
	if held < 3 || held > 25 || len(w.came) != 100 || slices.IsSorted(w.came) {
		t.Fatalf("%d were held back: %v", held, w.came)
	}
	if rest := w.came[:100-held]; !slices.IsSorted(rest) {
		t.Fatalf("the others changed their order: %v", rest)
	}
}

func TestRateSpacesPackets(t *testing.T) {
	w := newWire(1, Link{Rate: 1000})
	for i := range 4 {
		w.pass(packet(i, 100), w.now) // 100 ms each
	}
	for i := range 4 {
		w.after(100 * time.Millisecond)
		if len(w.came) != i+1 {
			t.Fatalf("%v came in %d00 ms", w.came, i+1)
		}
	}
	w.passAll(100) // 24 bytes each: 41 ms of waiting in 2 s of line
	if w.stats.Overflowed == 0 || w.stats.Overflowed+int64(len(w.queue)) != 100 {
		t.Fatalf("%d wait, %+v", len(w.queue), w.stats)
	}
}

func TestQueueIsBounded(t *testing.T) {
	w := newWire(1, Link{Delay: time.Hour})
	const size = 8192
	for i := range mostQueued/size + 7 {
		w.pass(packet(i, size), w.now)
	}
	if w.stats.Overflowed != 7 || w.queued != mostQueued {
		t.Fatalf("%d bytes wait, %+v", w.queued, w.stats)
	}
	w.after(time.Hour)
	if w.queued != 0 || w.queue != nil {
		t.Fatalf("%d bytes still wait", w.queued)
	}
}

func TestCutLosesWhatIsUnderWay(t *testing.T) {
	w := newWire(1, Link{Delay: time.Second})
	w.passAll(3)
	w.set(func(is *Link) { is.Cut = true })
	w.after(time.Second)
	w.passAll(1)
	if len(w.came) != 0 || w.stats.Cut != 4 {
		t.Fatalf("%v came, %+v", w.came, w.stats)
	}
}

func TestHealedLinkDoesNotWaitForItsPast(t *testing.T) {
	w := newWire(1, Link{Delay: time.Hour})
	w.passAll(1)
	w.set(func(is *Link) { *is = Link{} })
	w.pass(packet(1, 0), w.now)
	if !slices.Equal(w.came, []int{1}) {
		t.Fatalf("%v came", w.came)
	}
}

func TestCorruptFlipsOneBitBehindTheHeader(t *testing.T) {
	l := newWire(1, Link{Corrupt: 1}).link
	for range 100 {
		was := packet(7, 40)
		is := slices.Clone(was)
		l.write = func([]byte) error { return nil }
		l.pass(is, time.Unix(1000, 0))
		flipped := 0
		for i := range was {
			for x := was[i] ^ is[i]; x != 0; x &= x - 1 {
				flipped++
			}
		}
		if flipped != 1 || !bytes.Equal(was[:20], is[:20]) {
			t.Fatalf("%d bits: %x", flipped, is)
		}
	}
	if l.stats.Corrupted != 100 {
		t.Fatalf("%+v", l.stats)
	}
}

// The seed alone decides which packets the faults hit.
func TestSameSeedSameFaults(t *testing.T) {
	run := func(seed uint64) *wire {
		w := newWire(seed, Link{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Jitter: time.Second})
		for i := range 200 {
			w.pass(packet(i, 0), w.now)
			w.after(10 * time.Millisecond)
		}
		w.after(2 * time.Second)
		return w
	}
	a, b, c := run(1), run(1), run(2)
	if !slices.Equal(a.came, b.came) || a.stats != b.stats {
		t.Errorf("one seed, two runs: %v and %v", a.came, b.came)
	}
	if slices.Equal(a.came, c.came) {
		t.Error("two seeds, one run")
	}
}

// Packets that no host would send are nobody's, and never a panic.
func TestPacketsThatAreNone(t *testing.T) {
	long, short := packet(1, 24), packet(1, 24)
	long[0], short[0] = 4<<4|15, 4<<4|1
	claims := packet(1, 24)
	binary.BigEndian.PutUint16(claims[2:], 2000)
	six := packet(1, 24)
	six[0] = 6 << 4
	for _, p := range [][]byte{nil, {0x45}, packet(1, 24)[:19], long, short, claims, six} {
		if isIPv4(p) {
			t.Errorf("%x is taken for a packet", p)
		}
	}
	tcp := packet(1, 24)
	tcp[9] = protocolTCP
	w := newWire(1, Link{})
	w.pass(tcp, w.now)
	if len(w.flows) != 0 {
		t.Error("four bytes of TCP are taken for a connection")
	}
}
