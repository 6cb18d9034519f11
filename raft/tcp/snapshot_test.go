package tcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/raft"
)

var testHead = raft.SnapshotHeader{
	From: peerA, To: peerB, Term: 3, Session: 2,
	Mark: raft.Mark{Position: raft.Position{Index: 9, Term: 2}, Config: raft.Config{Index: 2, Voters: []raft.Peer{{ID: peerA, Address: "a"}}}},
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// readStream reads a stream as a Handler would.
func readStream(b []byte) (head raft.SnapshotHeader, data []byte, err error) {
	s := newStreamReader(bytes.NewReader(b))
	if head, err = s.header(); err != nil {
		return head, nil, err
	}
	data, err = io.ReadAll(s)
	return head, data, err
}

func encodeStream(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := writeStream(&b, testHead, bytes.NewReader(data)); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestStreamRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3 * chunkBytes} {
		data := noise(size)
		head, got, err := readStream(encodeStream(t, data))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if diff := cmp.Diff(testHead, head); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
	}
}

// TestStreamDamage flips every byte of a stream, and cuts it everywhere: no damage goes unnoticed.
func TestStreamDamage(t *testing.T) {
	data := noise(300)
	whole := encodeStream(t, data)
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		if _, _, err := readStream(bad); err == nil {
			t.Errorf("a flipped bit in byte %d went unnoticed", i)
		}
		if _, _, err := readStream(whole[:i]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a cut at byte %d gave error %v", i, err)
		}
	}
}

// TestStreamOrder: chunks that are missing, twice there, exchanged or too large are errors that say where.
func TestStreamOrder(t *testing.T) {
	whole := encodeStream(t, noise(3*chunkBytes))
	frames := splitFrames(t, whole)
	head, one, two, three, footer := frames[0], frames[1], frames[2], frames[3], frames[4]
	fat := appendFrameHead(nil, frameChunk, chunkFixed+chunkBytes+1)
	fat = seal(append(fat, make([]byte, chunkFixed+chunkBytes+1)...))
	empty := seal(append(appendFrameHead(nil, frameChunk, chunkFixed), make([]byte, chunkFixed)...))
	alive := controlFrame(frameAlive)
	tests := []struct {
		name   string
		frames [][]byte
		want   string
	}{
		{"whole", [][]byte{alive, head, alive, one, two, alive, three, footer}, ""},
		{"missing", [][]byte{head, one, three, footer}, "snapshot at byte 262144: chunk of byte 524288"},
		{"twice", [][]byte{head, one, one, two, three, footer}, "snapshot at byte 262144: chunk of byte 0"},
		{"exchanged", [][]byte{head, two, one, three, footer}, "snapshot at byte 0: chunk of byte 262144"},
		{"footer too early", [][]byte{head, one, footer}, "snapshot at byte 262144: footer of 786432 bytes"},
		{"no footer", [][]byte{head, one, two, three}, "snapshot is cut at byte 786432"},
		{"too large", [][]byte{head, fat}, "snapshot at byte 0: type 97 with 262157 bytes"},
		{"empty chunk", [][]byte{head, empty}, "snapshot at byte 0: type 97 with 12 bytes"},
		{"no header", [][]byte{one, two}, "begins with type 97"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := readStream(bytes.Join(test.frames, nil))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func splitFrames(t *testing.T, b []byte) (frames [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := 4 + int(binary.LittleEndian.Uint32(b))
		frames, b = append(frames, b[:n]), b[n:]
	}
	return frames
}

// slowReader waits before it gives its data.
type slowReader struct {
	wait time.Duration
	data io.Reader
}

func (r *slowReader) Read(p []byte) (int, error) {
	<-time.NewTimer(r.wait).C
	r.wait = 0
	return r.data.Read(p)
}

// TestSnapshotMayBeSlow: user code on either side may take long, as long as both processes live.
func TestSnapshotMayBeSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		data := noise(1 << 20)
		b.onSnapshot = func(_ context.Context, r io.Reader) error {
			time.Sleep(time.Hour)
			got, err := io.ReadAll(r)
			time.Sleep(time.Hour)
			if !bytes.Equal(got, data) {
				t.Errorf("received %d bytes, not the %d sent", len(got), len(data))
			}
			return err
		}
		began := time.Now()
		if err := a.SendSnapshot(t.Context(), testHead, &slowReader{time.Hour, bytes.NewReader(data)}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 2*time.Hour {
			t.Errorf("it took %v only", took)
		}
		closeAll(t, a, b)
	})
}

// TestSnapshotFromASilentSender: the receiver gives up when the sender's host has vanished.
func TestSnapshotFromASilentSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		ended := make(chan error, 1)
		b.onSnapshot = func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			ended <- err
			return err
		}
		conn, _ := greet(t, net, b.peer.Address, (&hello{forSnapshot, testCluster, peerA, peerB, 1, ""}).encode())
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		whole := encodeStream(t, noise(2*chunkBytes))
		if _, err := conn.Write(whole[:len(whole)-chunkBytes]); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := <-ended
		if took, want := time.Since(began), b.o.Limits.Silence; took != want || !strings.Contains(err.Error(), "cut at byte 262144: nothing for 10s") {
			t.Errorf("after %v, want %v: error %v", took, want, err)
		}
		_ = conn.Close()
		closeAll(t, b)
	})
}

// TestSnapshotToASilentReceiver: the sender gives up when the receiver's host has vanished.
func TestSnapshotToASilentReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		listener := net.listen("silent")
		a := net.start(t, peerA, raft.Peer{ID: peerB, Address: "silent"})
		sent := make(chan error, 1)
		go func() { sent <- a.SendSnapshot(t.Context(), testHead, zeros{}) }()
		for range 2 { // the lane's and the snapshot's
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = readPreamble(conn, maxHelloBytes)
			welcome := answer{by: Identity{Cluster: testCluster, ID: peerB}}
			_, _ = conn.Write(welcome.encode())
			defer func() { _ = conn.Close() }()
		}
		began := time.Now()
		err := <-sent
		if took, want := time.Since(began), a.o.Limits.Silence; took != want || !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("after %v, want %v: error %v", took, want, err)
		}
		closeAll(t, a)
		_ = listener.Close()
	})
}

// TestSnapshotReceiverMustReadAll: a Handler that accepts without having read to the footer has not seen it whole.
func TestSnapshotReceiverMustReadAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		b.onSnapshot = func(_ context.Context, r io.Reader) error {
			_, err := io.CopyN(io.Discard, r, 1000)
			return err
		}
		var rejected *RejectedError
		err := a.SendSnapshot(t.Context(), testHead, bytes.NewReader(noise(1001)))
		if !errors.As(err, &rejected) || !strings.Contains(rejected.Reason, "stopped at byte 1000") {
			t.Errorf("got error %v, want a rejection", err)
		}
		if err := a.SendSnapshot(t.Context(), testHead, bytes.NewReader(noise(1000))); err != nil {
			t.Errorf("all data read, the end not seen: %v", err)
		}
		closeAll(t, a, b)
	})
}

// TestSnapshotInAForeignName: the header must say what the handshake said.
func TestSnapshotInAForeignName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		b.onSnapshot = func(context.Context, io.Reader) error {
			t.Error("it was delivered")
			return nil
		}
		stranger := raft.PeerID{Node: 3}
		conn, _ := greet(t, net, b.peer.Address, (&hello{forSnapshot, testCluster, stranger, peerB, 1, ""}).encode())
		go func() { _, _ = conn.Write(encodeStream(t, noise(10))) }()
		f, err := newFrameReader(conn, readBuffer, maxVerdictBytes).next()
		if err != nil || f.kind != frameVerdict || f.body[0] != 1 || !strings.Contains(string(f.body), "header names 1.a to 2.b") {
			t.Errorf("verdict %d %q, error %v", f.kind, f.body, err)
		}
		_ = conn.Close()
		closeAll(t, b)
	})
}

// TestSnapshotsAreBounded: more streams than a node wants to receive at a time are refused.
func TestSnapshotsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		b.onSnapshot = func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, maxStreams)
		for range maxStreams {
			go func() { ended <- a.SendSnapshot(ctx, testHead, &slowReader{time.Hour, zeros{}}) }()
		}
		synctest.Wait()
		var refusal *RefusedError
		if err := a.SendSnapshot(ctx, testHead, zeros{}); !errors.As(err, &refusal) || refusal.Code != CodeBusy {
			t.Errorf("got error %v, want a refusal", err)
		}
		cancel()
		for range maxStreams {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := a.SendSnapshot(t.Context(), testHead, bytes.NewReader(noise(10))); err != nil {
			t.Errorf("when the others have ended: %v", err)
		}
		closeAll(t, a, b)
	})
}
