package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/memnet"
)

// pair connects host a to host b.
func pair(t *testing.T, n *memnet.Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host("b").Listen(":7400")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, l.Close()) }()
	a, err = n.Host("a").Dial(t.Context(), "b:7400")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func mustRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

func mustWrite(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("wrote %d of %q, %v", n, s, err)
	}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		mustWrite(t, a, "hello")
		mustWrite(t, a, " world")
		mustRead(t, b, "hello world")
		mustWrite(t, b, "bye")
		mustRead(t, a, "bye")
		if got, want := a.RemoteAddr().String(), b.LocalAddr().String(); got != want || got != "b:7400" {
			t.Errorf("remote address %s of one end, local %s of the other", got, want)
		}
		if got, want := a.LocalAddr().String(), b.RemoteAddr().String(); got != want {
			t.Errorf("local address %s of one end, remote %s of the other", got, want)
		}
		mustWrite(t, a, "last")
		must(t, a.Close())
		mustRead(t, b, "last")
		for range 2 {
			if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Fatalf("read %d, %v behind the end", n, err)
			}
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write to a closed connection: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of the closed end: %v", err)
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
	})
}

// TestCloseWrite closes one direction only.
func TestCloseWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		half, ok := a.(interface{ CloseWrite() error })
		if !ok {
			t.Fatalf("%T has no CloseWrite", a)
		}
		must(t, half.CloseWrite())
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("read behind the end: %v", err)
		}
		mustWrite(t, b, "still")
		mustRead(t, a, "still")
	})
}

// TestReaderThatDoesNotRead blocks the writer, whose deadline, or close, ends that.
func TestReaderThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		must(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		big := bytes.Repeat([]byte("x"), 100<<10)
		began := time.Now()
		n, err := a.Write(big)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second || n == 0 || n == len(big) {
			t.Fatalf("wrote %d in %v: %v", n, time.Since(began), err)
		}
		must(t, a.SetWriteDeadline(time.Time{}))
		done := make(chan error, 1)
		go func() {
			_, err := a.Write(big[n:])
			done <- err
		}()
		synctest.Wait()
		if got, err := io.ReadFull(b, make([]byte, len(big))); err != nil {
			t.Fatalf("read %d: %v", got, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := a.Write(big)
			done <- err
		}()
		synctest.Wait()
		must(t, b.Close())
		if err := <-done; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write to who has closed: %v", err)
		}
	})
}

func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		must(t, a.SetReadDeadline(time.Now().Add(time.Hour)))
		began := time.Now()
		time.AfterFunc(time.Second, func() { must(t, a.SetReadDeadline(time.Now())) })
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatalf("read ended after %v: %v", time.Since(began), err)
		}
		var timeout net.Error
		if _, err := a.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("read after the deadline: %v", err)
		}
		must(t, a.SetReadDeadline(time.Time{}))
		mustWrite(t, b, "x")
		mustRead(t, a, "x")
	})
}

// TestCut lets what was written stand still, in order, until the cut is healed; nobody learns of a close meanwhile.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := pair(t, n)
		mustWrite(t, a, "1")
		n.CutOneWay("a", "b")
		mustWrite(t, a, "2")
		mustWrite(t, b, "back")
		mustRead(t, a, "back")
		must(t, b.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read beyond a cut: %v", err)
		}
		must(t, b.SetReadDeadline(time.Time{}))
		n.Cut("a", "b")
		must(t, b.Close())
		mustWrite(t, a, "3")
		n.Heal("a", "b")
		if _, err := a.Write([]byte("4")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after the heal: %v", err)
		}
	})
}

func TestHealDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := pair(t, n)
		n.Cut("a", "b")
		mustWrite(t, a, "123")
		time.AfterFunc(time.Second, func() { n.Heal("a", "b") })
		mustRead(t, b, "123")
	})
}

func TestDialBeyondACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l, err := n.Host("b").Listen("b:7400")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { must(t, l.Close()) }()
		n.Cut("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, "b:7400"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("dial: %v", err)
		}
		time.AfterFunc(time.Second, func() { n.Heal("a", "b") })
		c, err := n.Host("a").Dial(t.Context(), "b:7400")
		if err != nil {
			t.Fatal(err)
		}
		must(t, c.Close())
		n.Cut("a", "c")
		c, err = n.Host("c").Dial(t.Context(), "b:7400")
		if err != nil {
			t.Fatalf("a cut elsewhere: %v", err)
		}
		must(t, c.Close())
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := pair(t, n)
		n.Delay("a", "b", 100*time.Millisecond)
		began := time.Now()
		mustWrite(t, a, "one")
		time.Sleep(50 * time.Millisecond)
		mustWrite(t, a, "two")
		mustRead(t, b, "one")
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("arrived after %v", d)
		}
		mustRead(t, b, "two")
		if d := time.Since(began); d != 150*time.Millisecond {
			t.Errorf("arrived after %v", d)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := pair(t, n)
		n.Cut("a", "b")
		n.Reset("b")
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the host that was reset reads %v", err)
		}
		mustWrite(t, a, "nobody told me")
		n.Heal("a", "b")
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the other host reads %v", err)
		}
	})
}

func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l, err := n.Host("b").Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		if _, err := n.Host("b").Listen(at); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		for _, bad := range []string{"b", "b:x", "b:70000", "c:1"} {
			if _, err := n.Host("b").Listen(bad); err == nil {
				t.Errorf("b listens at %q", bad)
			}
		}
		c, err := n.Host("a").Dial(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		must(t, l.Close()) // before it was accepted
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read of a connection that was never accepted: %v", err)
		}
		must(t, c.Close())
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if _, err := n.Host("a").Dial(t.Context(), at); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
	})
}
