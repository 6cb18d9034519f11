package memnet_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/memnet"
)

func listenPacket(t *testing.T, n *memnet.Network, host string) net.PacketConn {
	t.Helper()
	c, err := n.Host(host).ListenPacket(":7402")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func sendPacket(t *testing.T, c net.PacketConn, to, text string) {
	t.Helper()
	if n, err := c.WriteTo([]byte(text), memnet.Addr(to)); n != len(text) || err != nil {
		t.Fatalf("sent %d of %q, %v", n, text, err)
	}
}

// arrives reads what comes within a second of the bubble; empty if nothing does.
func arrives(t *testing.T, c net.PacketConn) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(time.Second)))
	b := make([]byte, 100)
	n, from, err := c.ReadFrom(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil || from.String() != "a:7402" {
		t.Fatalf("read from %v, %v", from, err)
	}
	return string(b[:n])
}

func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := listenPacket(t, n, "a"), listenPacket(t, n, "b")
		sendPacket(t, a, "b:7402", "one")
		sendPacket(t, a, "b:7402", "two")
		sendPacket(t, a, "c:7402", "to nobody")
		if one, two, end := arrives(t, b), arrives(t, b), arrives(t, b); one != "one" || two != "two" || end != "" {
			t.Errorf("arrived: %q, %q, %q", one, two, end)
		}

		n.CutOneWay("a", "b")
		sendPacket(t, a, "b:7402", "lost")
		n.Heal("a", "b")
		if got := arrives(t, b); got != "" {
			t.Errorf("%q came through a cut", got)
		}

		n.Delay("a", "b", 700*time.Millisecond)
		began := time.Now()
		sendPacket(t, a, "b:7402", "late")
		if got := arrives(t, b); got != "late" || time.Since(began) != 700*time.Millisecond {
			t.Errorf("%q came after %v", got, time.Since(began))
		}
	})
}

func TestPacketsFindNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := listenPacket(t, n, "a"), listenPacket(t, n, "b")
		for range 5000 {
			sendPacket(t, a, "b:7402", "x")
		}
		got := 0
		for arrives(t, b) != "" {
			got++
		}
		if got == 0 || got >= 5000 {
			t.Errorf("%d of 5000 arrived at a socket that was not read", got)
		}
	})
}

func TestPacketSocketCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		c := listenPacket(t, n, "a")
		if _, err := n.Host("a").ListenPacket("a:7402"); err == nil {
			t.Error("two sockets at one address")
		}
		if _, err := n.Host("b").ListenPacket("a:7402"); err == nil {
			t.Error("a socket at another host's address")
		}
		ended := make(chan error)
		go func() {
			_, _, err := c.ReadFrom(nil)
			ended <- err
		}()
		synctest.Wait()
		must(t, c.Close())
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a reader of a closed socket got %v", err)
		}
		if _, err := c.WriteTo([]byte("x"), memnet.Addr("b:1")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write to a closed socket: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		if again, err := n.Host("a").ListenPacket("a:7402"); err != nil {
			t.Errorf("the address of a closed socket: %v", err)
		} else {
			must(t, again.Close())
		}
	})
}
