package tcp

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/lockd/lockd/raft"
)

// FuzzFrames: any bytes give messages or an error, and a message that was read is written again as it was.
func FuzzFrames(f *testing.F) {
	var all []byte
	for _, body := range wireBodies {
		b := mustEncode(f, filled(body))
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Add(controlFrame(framePing))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(bytes.NewReader(b), readBuffer, maxFrameBytes)
		for read := 0; ; {
			frame, err := r.next()
			if err != nil {
				return
			}
			start := read
			read += frameHead + len(frame.body)
			m, err := decodeMessage(frame)
			if err != nil {
				if !errors.Is(err, errFrame) {
					t.Fatalf("error %v does not wrap errFrame", err)
				}
				return
			}
			if again := mustEncode(t, m); !bytes.Equal(again, b[start:read]) {
				t.Fatalf("%x was read, and written as %x", b[start:read], again)
			}
		}
	})
}

// FuzzHandshake: any bytes are a hello, an answer or an error, on both sides.
func FuzzHandshake(f *testing.F) {
	h := hello{purpose: forMessages, cluster: testCluster, from: peerA, to: peerB, boot: 1, reply: "host:7401"}
	f.Add(h.encode())
	a := answer{code: CodeCluster, reason: "reason", by: Identity{Cluster: testCluster, ID: peerB, Status: Status{Detail: []byte("x")}}}
	f.Add(a.encode())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := readPreamble(bytes.NewReader(b), max(maxHelloBytes, maxAnswerBytes))
		if err != nil {
			return
		}
		if h, err := decodeHello(body); err == nil && !bytes.HasPrefix(b, h.encode()) {
			t.Errorf("hello %+v is not written as it was read", h)
		}
		if a, err := decodeAnswer(body); err == nil && !bytes.HasPrefix(b, a.encode()) {
			t.Errorf("answer %+v is not written as it was read", a)
		}
	})
}

// FuzzSnapshotStream: any bytes are a whole stream or an error, and never more data than bytes.
func FuzzSnapshotStream(f *testing.F) {
	for _, size := range []int{0, 1, 1000} {
		f.Add(encodeStream(f, noise(size)))
	}
	f.Add(appendHeader(controlFrame(frameAlive), testHead))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, data, err := readStream(b)
		if err != nil {
			return
		}
		if len(data) > len(b) {
			t.Errorf("%d bytes of data in %d", len(data), len(b))
		}
		var again bytes.Buffer
		if err := writeStream(&again, head, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		back, same, err := readStream(again.Bytes())
		if err != nil || !bytes.Equal(same, data) || back.Mark.Position != head.Mark.Position {
			t.Errorf("written again it differs, error %v", err)
		}
	})
}

// FuzzVerdict: any bytes from the receiver of a snapshot are signs of life, a verdict or an error.
func FuzzVerdict(f *testing.F) {
	f.Add(append(controlFrame(frameAlive), encodeVerdict(nil)...))
	f.Add(encodeVerdict(errors.New("no")))
	f.Fuzz(func(t *testing.T, b []byte) {
		accepted := bytes.Contains(b, encodeVerdict(nil))
		if err := readVerdict(bytes.NewReader(b), raft.PeerID{Node: 1}); err == nil && !accepted {
			t.Errorf("%x is no acceptance", b)
		} else if err != nil && errors.Is(err, io.EOF) && !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("a stream that ends gave error %v", err)
		}
	})
}
