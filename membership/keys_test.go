package membership_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/membership"
)

// startWith runs node i with a ring of its own, in memory.
func (b *bubble) startWith(i int, k membership.Key) *member {
	b.t.Helper()
	ring := ringOf(b.t, k)
	return b.start(i, func(o *membership.Options) { o.Keyring = ring })
}

func ringOf(t *testing.T, k membership.Key) *membership.Keyring {
	t.Helper()
	ring, err := membership.NewKeyring(k)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func peers(members ...*member) (list []membership.Peer) {
	for _, m := range members {
		for _, o := range m.Members() {
			if strings.HasPrefix(o.Address.String(), m.host+":") {
				list = append(list, o.Peer)
			}
		}
	}
	return list
}

func TestKeysRotate(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		old, next := membership.NewKey(), membership.NewKey()
		n1, n2, n3 := b.startWith(1, old), b.startWith(2, old), b.startWith(3, old)
		all := []*member{n1, n2, n3}
		const whole = "n1 alive, n2 alive, n3 alive"
		want(t, 5*time.Second, whole, all...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		if err := n2.UseKey(ctx, next.ID(), peers(all...)); !errors.Is(err, membership.ErrKeyOrder) {
			t.Errorf("a key that nobody has was to be used: %v", err)
		}
		for _, step := range []error{
			n2.InstallKey(ctx, next, peers(all...)),
			n2.InstallKey(ctx, next, peers(all...)), // again is safe
			n3.UseKey(ctx, next.ID(), peers(all...)),
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		if err := n1.RemoveKey(ctx, next.ID(), peers(all...)); !errors.Is(err, membership.ErrKeyOrder) {
			t.Errorf("the key in use was to be removed: %v", err)
		}
		if err := n1.RemoveKey(ctx, old.ID(), peers(all...)); err != nil {
			t.Fatal(err)
		}
		want(t, time.Minute, whole, all...)
		for _, m := range n1.Members() {
			if m.Primary != next.ID() || len(m.Keys) != 1 {
				t.Errorf("%s encrypts with %v of %v", m.Name, m.Primary, m.Keys)
			}
		}
		for _, m := range all {
			m.note(func() {
				if len(m.failures)+len(m.suspects) > 0 {
					t.Errorf("%s saw %v fail and suspected %v", m.host, m.failures, m.suspects)
				}
			})
		}

		late := b.startWith(4, old)
		want(t, 10*time.Second, whole, all...)
		if got := late.reasons(); !strings.Contains(got, "other gossip keys") || !strings.Contains(got, old.ID().String()) {
			t.Errorf("who comes with the old key hears %q", got)
		}
		if got := n1.reasons(); got != "it has other gossip keys than this node, which encrypts with the gossip key "+next.ID().String() {
			t.Errorf("of who comes with the old key is told %q", got)
		}
		plain := b.start(5)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := n1.reasons(); !strings.Contains(got, "it gossips in the clear, this node with the gossip key "+next.ID().String()) {
			t.Errorf("of who comes without a key is told %q", got)
		}
		plain.leave()
		for _, m := range append(all, late) {
			m.leave()
		}
	})
}

// Who is missing would be locked out, so nothing is changed.
func TestKeysDoNotRotateWithoutEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		old, next := membership.NewKey(), membership.NewKey()
		n1, n2 := b.startWith(1, old), b.startWith(2, old)
		want(t, 5*time.Second, "n1 alive, n2 alive", n1, n2)
		required := append(peers(n1, n2), membership.Peer{Node: 3, Incarnation: 9})
		if err := n1.InstallKey(t.Context(), next, required); !errors.Is(err, membership.ErrMembersMissing) {
			t.Errorf("without the third: %v", err)
		}
		n2.leave()
		synctest.Wait()
		if err := n1.InstallKey(t.Context(), next, required[:2]); !errors.Is(err, membership.ErrMembersMissing) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("without the second: %v", err)
		}
		if keys := n1.Members()[0].Keys; len(keys) != 1 || keys[0] != old.ID() {
			t.Errorf("the ring has changed: %v", keys)
		}
		n1.leave()
	})
}

// A member that does not follow is named, and the same command again brings it to an end.
func TestKeyRotationSaysWhoIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		old, next := membership.NewKey(), membership.NewKey()
		n1, n2 := b.startWith(1, old), b.startWith(2, old)
		want(t, 5*time.Second, "n1 alive, n2 alive", n1, n2)
		all := peers(n1, n2)
		b.net.CutOneWay(n2.host, n1.host) // it hears the order, but its word of it does not come back
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n1.InstallKey(ctx, next, all); err == nil || !strings.Contains(err.Error(), "n2") {
			t.Errorf("n2 is behind: %v", err)
		}
		b.net.Heal(n2.host, n1.host)
		time.Sleep(30 * time.Second)
		again, cancelAgain := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancelAgain()
		if err := n1.InstallKey(again, next, all); err != nil {
			t.Error(err)
		}
		n1.leave()
		n2.leave()
	})
}

// Without keys anybody could order: nobody may.
func TestNoKeysNoRotation(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1 := b.start(1)
		synctest.Wait()
		if err := n1.InstallKey(t.Context(), membership.NewKey(), nil); !errors.Is(err, membership.ErrNotEncrypted) {
			t.Errorf("got %v", err)
		}
		n1.leave()
	})
}

func TestKeyringFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gossip.keyring")
	first, second := membership.NewKey(), membership.NewKey()
	if _, err := membership.OpenKeyring(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no ring and no key: %v", err)
	}
	ring, err := membership.OpenKeyring(path, first)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := membership.OpenKeyring(path, nil)
	if err != nil || again.Primary() != first.ID() || ring.Primary() != first.ID() {
		t.Errorf("read back: %v, %v", again, err)
	}
	if _, err := membership.OpenKeyring(path, second); err == nil || !strings.Contains(err.Error(), "lockd keyring") {
		t.Errorf("another first key: %v", err)
	}
	for _, text := range []string{"", "{}", "[]", `["x"]`, `["` + strings.Repeat("A", 12) + `"]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := membership.OpenKeyring(path, nil); err == nil {
			t.Errorf("%q was taken for a ring", text)
		}
	}
}

func TestParseKeys(t *testing.T) {
	k := membership.NewKey()
	if back, err := membership.ParseKey(" " + k.String() + "\n"); err != nil || back.ID() != k.ID() {
		t.Errorf("%v, %v", back, err)
	}
	if id, err := membership.ParseKeyID(k.ID().String()); err != nil || id != k.ID() {
		t.Errorf("%v, %v", id, err)
	}
	for _, bad := range []string{"", "x", "AAAA", strings.Repeat("A", 64)} {
		if _, err := membership.ParseKey(bad); err == nil {
			t.Errorf("the key %q was taken", bad)
		}
		if _, err := membership.ParseKeyID(bad + "z"); err == nil {
			t.Errorf("the name %q was taken", bad)
		}
	}
	if strings.Contains(k.ID().String(), k.String()[:4]) {
		t.Error("the name of a key tells the key")
	}
}

// A step has not been taken by all when one of those who must take it has gone in the middle: it would be locked out later.
func TestKeyStepEndsWithoutWhoHasGone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		old, next := membership.NewKey(), membership.NewKey()
		full := []string{old.String(), membership.NewKey().String(), membership.NewKey().String(), membership.NewKey().String()}
		text, err := json.Marshal(full)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "gossip.keyring")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		ring, err := membership.OpenKeyring(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		n1, n2 := b.startWith(1, old), b.startWith(2, old)
		n3 := b.start(3, func(o *membership.Options) { o.Keyring = ring }) // it cannot take another key
		want(t, 5*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		required := peers(n1, n2, n3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- n1.InstallKey(ctx, next, required) }()
		time.Sleep(2 * time.Second)
		b.crash(n3, n1, n2)
		err = <-done
		if !errors.Is(err, membership.ErrMembersMissing) || !strings.Contains(err.Error(), "n3") || ctx.Err() != nil {
			t.Errorf("n3 has gone before it followed: %v", err)
		}
		n1.leave()
		n2.leave()
	})
}
