package netlab_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/internal/netlab"
)

const port = 7000

func at(lab *netlab.Lab, i int) string { return fmt.Sprintf("%v:%d", lab.Addr(i), port) }

func listen(t testing.TB, lab *netlab.Lab, i int) net.Listener {
	t.Helper()
	l, err := lab.Listen(i, at(lab, i))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t testing.TB, lab *netlab.Lab, from, to int) net.Conn {
	t.Helper()
	c, err := lab.Dial(from)(t.Context(), at(lab, to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// connect returns both ends of a connection from host 0 to host 1.
func connect(t testing.TB, lab *netlab.Lab) (here, there net.Conn) {
	t.Helper()
	l := listen(t, lab, 1)
	here = dial(t, lab, 0, 1)
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = there.Close() })
	return here, there
}

// socket is one for datagrams, with room for all that a test sends.
func socket(t *testing.T, lab *netlab.Lab, i int) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := lab.In(i, func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: lab.Addr(i).AsSlice(), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) })
	if err := errors.Join(err, inner); err != nil {
		t.Fatal(err)
	}
	return c
}

// send sends one datagram with a number.
func send(t *testing.T, lab *netlab.Lab, c *net.UDPConn, to int, n uint32) {
	t.Helper()
	if _, err := c.WriteTo(binary.BigEndian.AppendUint32(nil, n), net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.Addr(to), port))); err != nil {
		t.Error(err)
	}
}

func receive(t *testing.T, c *net.UDPConn) uint32 {
	t.Helper()
	var b [4]byte
	if _, err := c.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint32(b[:])
}

// exchange sends n datagrams from host 0 to host 1 and returns the numbers of those that came, in their order.
func exchange(t *testing.T, lab *netlab.Lab, n int) []uint32 {
	t.Helper()
	const end = 1 << 31
	source, target := socket(t, lab, 0), socket(t, lab, 1)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := range n {
			send(t, lab, source, 1, uint32(i))
		}
		for { // until one of them comes through
			select {
			case <-done:
				return
			default:
				send(t, lab, source, 1, end)
			}
		}
	}()
	var came []uint32
	for {
		i := receive(t, target)
		if i == end {
			close(done)
			<-stopped
			return came
		}
		came = append(came, i)
	}
}

// eventually waits for a condition that has no channel.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit, tick := time.NewTimer(20*time.Second), time.NewTicker(time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal(what)
		}
	}
}

func TestEachHostReachesEachOther(t *testing.T) {
	lab := netlab.New(t, 4, 1)
	for to := range 4 {
		l := listen(t, lab, to)
		for from := range 4 { // itself too
			c := dial(t, lab, from, to)
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := netip.ParseAddrPort(peer.RemoteAddr().String()); err != nil || got.Addr() != lab.Addr(from) {
				t.Errorf("host %d is seen as %v: %v", from, got, err)
			}
			_, _ = peer.Close(), c.Close()
		}
	}
}

func TestNothingLeadsOutOrIn(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	listen(t, lab, 1)
	if _, err := lab.Dial(0)(t.Context(), "192.0.2.1:80"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a host has a route outside: %v", err)
	}
	nobody, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lab.Dial(0)(nobody, "198.18.0.77:80"); err == nil {
		t.Error("a host answers that is not there")
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil || strings.Contains(string(routes), "\tC612") || strings.Contains(string(routes), "000012C6") {
		t.Errorf("%s has a route to the hosts: %v\n%s", own, err, routes)
	}
}

func TestLoopbackIsUp(t *testing.T) {
	lab := netlab.New(t, 1, 1)
	l, err := lab.Listen(0, "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := lab.Dial(0)(t.Context(), "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestLabsDoNotMeet(t *testing.T) {
	a, b := netlab.New(t, 2, 1), netlab.New(t, 2, 1)
	listen(t, a, 1)
	if _, err := b.Dial(0)(t.Context(), at(b, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a host of one lab is reached from the other: %v", err)
	}
}

func TestCutOneWay(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	zero, one := socket(t, lab, 0), socket(t, lab, 1)
	lab.Set(1, 0, netlab.Link{Cut: true})
	for i := range uint32(50) {
		send(t, lab, one, 0, i)
		send(t, lab, zero, 1, i)
	}
	for i := range uint32(50) {
		if got := receive(t, one); got != i {
			t.Fatalf("datagram %d came the open way, not %d", got, i)
		}
	}
	eventually(t, "nothing was cut", func() bool { return lab.Between(1, 0).Cut == 50 })
	lab.Heal()
	send(t, lab, one, 0, 99)
	if i := receive(t, zero); i != 99 {
		t.Errorf("datagram %d came the cut way", i)
	}
	if s := lab.Between(1, 0); s.Passed != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSplitAndHeal(t *testing.T) {
	lab := netlab.New(t, 5, 1)
	var sockets []*net.UDPConn
	for i := range 5 {
		sockets = append(sockets, socket(t, lab, i))
	}
	all := func(round uint32) {
		for from := range 5 {
			for to := range 5 {
				if from != to {
					send(t, lab, sockets[from], to, round*100+uint32(from))
				}
			}
		}
	}
	lab.Split([]int{0, 1}, []int{2, 3}) // 4 sees everybody
	all(1)
	eventually(t, "the sides are not apart", func() bool { return lab.Stats().Cut == 8 && lab.Stats().Passed == 12 })
	lab.Heal()
	all(2)
	for to, want := range [][]uint32{{101, 104}, {100, 104}, {103, 104}, {102, 104}, {100, 101, 102, 103}} {
		got := make([]uint32, 0, 8)
		for range len(want) + 4 {
			got = append(got, receive(t, sockets[to]))
		}
		for from := range uint32(5) {
			if int(from) != to {
				want = append(want, 200+from)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("host %d got %v, want %v", to, got, want)
		}
	}
}

func TestLoss(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	lab.Set(0, 1, netlab.Link{Loss: 0.3})
	if came := exchange(t, lab, 1000); len(came) < 600 || len(came) > 800 || !slices.IsSorted(came) {
		t.Errorf("%d of 1000 came: %v", len(came), came)
	}
	if s := lab.Between(0, 1); s.Lost < 200 {
		t.Errorf("%+v", s)
	}
}

func TestDuplicate(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	lab.Set(0, 1, netlab.Link{Duplicate: 0.3})
	came := exchange(t, lab, 1000)
	if once := len(slices.Compact(slices.Clone(came))); once != 1000 || len(came) < 1200 || len(came) > 1400 {
		t.Errorf("%d of 1000 came, %d with their doubles", once, len(came))
	}
}

func TestReorder(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	lab.Set(0, 1, netlab.Link{Reorder: 0.1})
	source, target := socket(t, lab, 0), socket(t, lab, 1)
	came, back := make([]uint32, 1000), 0
	for i := range came {
		send(t, lab, source, 1, uint32(i))
	}
	for i := range came { // none is lost
		if came[i] = receive(t, target); i > 0 && came[i] < came[i-1] {
			back++
		}
	}
	if back < 5 {
		t.Errorf("%d steps back in %v", back, came)
	}
}

// A packet that is delayed waits alone: those of another link pass it, to the same host or not.
func TestDelayIsOfOneLink(t *testing.T) {
	lab := netlab.New(t, 3, 1)
	lab.Set(0, 2, netlab.Link{Delay: 300 * time.Millisecond})
	slow, fast, target := socket(t, lab, 0), socket(t, lab, 1), socket(t, lab, 2)
	send(t, lab, slow, 2, 1)
	eventually(t, "the first was not delayed", func() bool { return lab.Between(0, 2).Delayed == 1 })
	send(t, lab, slow, 1, 2)
	if receive(t, fast) != 2 {
		t.Error("another destination did not get its own")
	}
	send(t, lab, fast, 2, 3)
	if first, second := receive(t, target), receive(t, target); first != 3 || second != 1 {
		t.Errorf("%d came before %d", first, second)
	}
}

// transfer sends bytes over a connection and returns what came.
func transfer(t testing.TB, here, there net.Conn, size int64) (sent, came []byte) {
	t.Helper()
	want, got := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(here, want), io.LimitReader(&counter{}, size))
		done <- err
	}()
	if _, err := io.CopyN(got, there, size); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return want.Sum(nil), got.Sum(nil)
}

// counter is a stream of bytes that differ.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], c.n)
		c.n++
	}
	return i, nil
}

// TCP delivers the right bytes whatever happens below, and what is damaged is seen by its checksum.
func TestTransferOverABadLink(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	here, there := connect(t, lab)
	lab.Set(0, 1, netlab.Link{Corrupt: 0.05, Duplicate: 0.05, Reorder: 0.05, Loss: 0.01})
	if sent, came := transfer(t, here, there, 2<<20); !bytes.Equal(sent, came) {
		t.Error("other bytes came than were sent")
	}
	if s := lab.Between(0, 1); s.Corrupted == 0 || s.Doubled == 0 || s.Reordered == 0 || s.Lost == 0 {
		t.Errorf("a fault hit nothing: %+v", s)
	}
	lab.Heal()
	out, err := lab.Command(t.Context(), 1, "cat", "/proc/net/snmp").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "InCsumErrors") || errorsOfTCP(t, out) == 0 {
		t.Errorf("no wrong checksum was seen:\n%s", out)
	}
}

// errorsOfTCP returns InCsumErrors, the last number of the second line of Tcp.
func errorsOfTCP(t *testing.T, snmp []byte) (n int) {
	t.Helper()
	for line := range strings.Lines(string(snmp)) {
		if f := strings.Fields(line); f[0] == "Tcp:" && f[1] != "RtoAlgorithm" {
			if _, err := fmt.Sscan(f[len(f)-1], &n); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

func TestRate(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	here, there := connect(t, lab)
	lab.Set(0, 1, netlab.Link{Rate: 4 << 20})
	start := time.Now()
	if sent, came := transfer(t, here, there, 1<<20); !bytes.Equal(sent, came) {
		t.Error("other bytes came than were sent")
	}
	if took := time.Since(start); took < 240*time.Millisecond { // the law of the link, not of the machine
		t.Errorf("1 MiB passed in %v at 4 MiB/s", took)
	}
	if s := lab.Between(0, 1); s.Delayed == 0 {
		t.Errorf("%+v", s)
	}
}

func TestReset(t *testing.T) {
	lab := netlab.New(t, 3, 1)
	here, there := connect(t, lab)
	l := listen(t, lab, 2)
	other := dial(t, lab, 0, 2)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	if sent, came := transfer(t, here, there, 1<<16); !bytes.Equal(sent, came) {
		t.Fatal("other bytes came than were sent")
	}
	lab.Reset(1, 0)
	for who, c := range map[string]net.Conn{"the side that dialed": here, "the side that listened": there} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", who, err)
		}
	}
	if sent, came := transfer(t, other, peer, 1<<16); !bytes.Equal(sent, came) {
		t.Error("the connection between others was hit")
	}
	if n := lab.Stats().Resets; n != 1 {
		t.Errorf("%d connections were reset", n)
	}
}

// A process whose host is cut off and that is killed leaves the other side half open: nobody tells it.
func TestHalfOpen(t *testing.T) {
	lab := netlab.New(t, 2, 1)
	l := listen(t, lab, 0)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	cmd := lab.Command(ctx, 1, "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%v/%d; echo hello >&3; exec cat <&3", lab.Addr(0), port))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	lab.Split([]int{0}, []int{1})
	kill()
	_ = cmd.Wait() // it was killed
	eventually(t, "the end was not cut", func() bool { return lab.Between(1, 0).Cut > 0 })
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other side knows of the end: %v", err)
	}
}

// namespaces returns those that threads of this process are in.
func namespaces(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil { // a thread may have ended
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// open returns what this process has open of a lab.
func open(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (strings.HasPrefix(name, "net:") || strings.HasPrefix(name, "/dev/net/tun")) {
			all = append(all, name)
		}
	}
	return all
}

func TestNothingIsLeft(t *testing.T) {
	netlab.Need(t)
	var left *exec.Cmd
	t.Run("lab", func(t *testing.T) {
		lab := netlab.New(t, 3, 1)
		left = lab.Command(context.WithoutCancel(t.Context()), 1, "sleep", "1000")
		if err := left.Start(); err != nil {
			t.Fatal(err)
		}
		here, there := connect(t, lab)
		if sent, came := transfer(t, here, there, 1<<16); !bytes.Equal(sent, came) {
			t.Error("other bytes came than were sent")
		}
		if len(open(t)) != 6 {
			t.Errorf("three hosts are %v", open(t))
		}
	})
	if err := left.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("what ran in a host: %v", err)
	}
	if all := open(t); len(all) > 0 {
		t.Errorf("still open: %v", all)
	}
	if all := namespaces(t); len(all) != 1 {
		t.Errorf("threads are in %v", all)
	}
}

func BenchmarkTransfer(b *testing.B) {
	lab := netlab.New(b, 2, 1)
	here, there := connect(b, lab)
	const chunk = 1 << 20
	b.SetBytes(chunk)
	go func() { // until the test closes it
		for _, err := here.Write(make([]byte, chunk)); err == nil; {
			_, err = here.Write(make([]byte, chunk))
		}
	}()
	into := make([]byte, chunk)
	for b.Loop() {
		if _, err := io.ReadFull(there, into); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip is one small message there and one back.
func BenchmarkRoundTrip(b *testing.B) {
	lab := netlab.New(b, 2, 1)
	here, there := connect(b, lab)
	go func() { _, _ = io.Copy(there, there) }()
	message := make([]byte, 64)
	for b.Loop() {
		if _, err := here.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(here, message); err != nil {
			b.Fatal(err)
		}
	}
}
