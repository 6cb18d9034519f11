package tcp

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
)

// asking opens two nodes that are not started; b answers.
func asking(t *testing.T, answer func(ctx context.Context, from Asker, question []byte) ([]byte, error)) (a, b *node) {
	t.Helper()
	net := newPipeNet()
	b = net.open(t, peerB, func(o *Options) { o.Answer = answer })
	return net.open(t, peerA, func(o *Options) { o.Cluster = otherCluster }), b
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := asking(t, func(_ context.Context, from Asker, question []byte) ([]byte, error) {
			if from.ID != peerA || from.Cluster != otherCluster || from.Address != peerA.String() {
				t.Errorf("asked by %+v", from)
			}
			if string(question) == "no" {
				return nil, errors.New("because it is late")
			}
			return append(question, '!'), nil
		})
		large := strings.Repeat("x", MaxAskBytes-1)
		for _, question := range []string{"", "well?", large} {
			if got, err := a.Ask(t.Context(), b.peer.Address, []byte(question)); err != nil || string(got) != question+"!" {
				t.Errorf("%d bytes: %d, %v", len(question), len(got), err)
			}
		}
		_, err := a.Ask(t.Context(), b.peer.Address, []byte("no"))
		if declined, ok := errors.AsType[*DeclinedError](err); !ok || declined.Reason != "because it is late" || errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("declined: %v", err)
		}
		if _, err := a.Ask(t.Context(), b.peer.Address, []byte(large+"x")); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("an answer that is too long: %v", err)
		}
		if _, err := a.Ask(t.Context(), b.peer.Address, []byte(large+"xx")); err == nil || !strings.Contains(err.Error(), "the question has") {
			t.Errorf("a question that is too long: %v", err)
		}
		if _, err := b.Ask(t.Context(), a.peer.Address, nil); !refusedWith(err, CodeNotReady) {
			t.Errorf("who answers nothing: %v", err)
		}
		if _, err := a.Ask(t.Context(), "nobody", nil); !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("nobody: %v", err)
		}
	})
}

func refusedWith(err error, code Code) bool {
	r, ok := errors.AsType[*RefusedError](err)
	return ok && r.Code == code
}

// A question that is being thought about ends with whoever asked it, and with the node.
func TestAskEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := asking(t, func(ctx context.Context, _ Asker, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Ask(ctx, b.peer.Address, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("after a second: %v", err)
		}
		if _, err := a.Ask(t.Context(), b.peer.Address, nil); err == nil {
			t.Error("answered after a minute")
		}
		ended := make(chan error, 1)
		go func() {
			_, err := a.Ask(t.Context(), b.peer.Address, nil)
			ended <- err
		}()
		synctest.Wait()
		_ = b.Close()
		if err := <-ended; err == nil {
			t.Error("answered by a node that was closed")
		}
	})
}

// However many ask, so many are answered at a time, and their places are free again.
func TestAsksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		a, b := asking(t, func(_ context.Context, _ Asker, question []byte) ([]byte, error) {
			<-free
			return question, nil
		})
		results := make(chan error, 2*maxAsks)
		for range cap(results) {
			go func() {
				_, err := a.Ask(t.Context(), b.peer.Address, []byte("?"))
				results <- err
			}()
		}
		synctest.Wait()
		close(free)
		answered, busy := 0, 0
		for range cap(results) {
			switch err := <-results; {
			case err == nil:
				answered++
			case refusedWith(err, CodeBusy):
				busy++
			default:
				t.Error(err)
			}
		}
		if answered != maxAsks || busy != maxAsks {
			t.Errorf("%d answered, %d refused", answered, busy)
		}
		for range 2 * maxAsks {
			synctest.Wait()
			if _, err := a.Ask(t.Context(), b.peer.Address, []byte("?")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What is no question is dropped, and the place is free again.
func TestBadQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.open(t, peerB, func(o *Options) {
			o.Answer = func(context.Context, Asker, []byte) ([]byte, error) {
				t.Error("a bad question was passed on")
				return nil, nil
			}
		})
		h := hello{purpose: forAsk, cluster: testCluster, from: peerA}
		for _, raw := range [][]byte{controlFrame(framePing), {0, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 64), {1}} {
			for range maxAsks {
				conn, a := greet(t, net, b.peer.Address, h.encode())
				if a.code != codeWelcome {
					t.Fatalf("code %d: %s", a.code, a.reason)
				}
				_, _ = conn.Write(raw)
				_ = conn.Close()
				synctest.Wait()
			}
		}
	})
}
