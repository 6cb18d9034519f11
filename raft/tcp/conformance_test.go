package tcp_test

import (
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/tcp"
)

var cluster = [16]byte{'t', 'e', 's', 't'}

func open(t *testing.T, o tcp.Options) *tcp.Transport {
	t.Helper()
	if o.Cluster == [16]byte{} {
		o.Cluster = cluster
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	tr, err := tcp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func TestConformance(t *testing.T) {
	rafttest.TestTransport(t, func(*testing.T) rafttest.OpenTransport {
		return func(t *testing.T, id raft.PeerID) (raft.Transport, string) {
			tr := open(t, tcp.Options{Self: id})
			return tr, tr.Addr().String()
		}
	})
}
