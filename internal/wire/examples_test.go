package wire_test

import (
	"bytes"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// examples returns one message of every type: what the golden bytes and the specification show.
func examples() []wire.Message {
	life := wire.Life{ID: idOf(0xa1), Index: 1201}
	request := func(seq, acked uint64, seen ...uint64) wire.Request {
		return wire.Request{Life: life, Seq: seq, Acked: acked, Seen: seen}
	}
	trace := wire.TraceContext(bytes.Join([][]byte{
		bytes.Repeat([]byte{0x4b}, 16), bytes.Repeat([]byte{0x00, 0xf0}, 4), {1},
	}, nil))
	const token, clock, lease = 897648164864, 86_400 * time.Second, 0xb2
	granted := wire.Outcome{
		Code: wire.Granted, Token: token, Floor: token, Behind: 2, Previous: wire.Ending{How: wire.Expired, Token: token - 1},
	}
	nodes := []wire.Node{
		{ID: 7, Name: "a", Address: "127.0.0.1:7400", Voter: true},
		{ID: 8, Name: "b", Address: "127.0.0.1:7410"},
	}
	holder := wire.Holder{
		Token: token, Life: life, Owner: 3, Mode: wire.Exclusive, Since: clock, Levels: 1, Names: []string{"jobs/nightly"},
		Value: []byte("v"), Metadata: []byte{0x90},
	}
	waiter := wire.Waiter{
		Life: wire.Life{ID: idOf(0xa2), Index: 1202}, Seq: 4, Owner: 1, Mode: wire.Exclusive, Since: clock + time.Second, Until: wire.Forever,
		Names: []string{"jobs/nightly"},
	}
	return []wire.Message{
		&wire.Hello{
			Magic: wire.Magic, VersionMin: 1, VersionMax: 1, Role: wire.RoleClient, Agent: "example/1.0", Credential: []byte("secret"),
		},
		&wire.Welcome{
			Version: 1, Cluster: idOf(0xc1), Incarnation: idOf(0xc2), Node: 7, Boot: 99, Clock: clock, Leader: 8, Nodes: nodes,
			Limits: wire.Limits{
				Frame: wire.FrameMax, InFlight: 1024, Name: 512, Names: 64, Value: 65536, Metadata: 4096, Window: 1024,
				TTLMin: time.Second, TTLMax: 10 * time.Minute, LeaseMin: time.Second, LeaseMax: 720 * time.Hour, WaitMax: 720 * time.Hour,
				DelayMax: time.Minute,
			},
		},
		&wire.Goodbye{Code: wire.WrongCluster, Text: "this node belongs to another cluster"},
		&wire.KeepAlive{Life: life, Number: 12},
		&wire.KeepAliveAnswer{Life: life, Number: 12, Verdict: wire.Renewed, Index: 1310, Clock: clock},

		&wire.Open{ID: 1, Session: life.ID, TTL: 15 * time.Second},
		&wire.Close{ID: 9, Life: life},
		&wire.Acquire{
			ID: 2, Trace: trace, Request: request(1, 0), Names: []string{"jobs/nightly"}, Mode: wire.Exclusive, Wait: wire.Forever, Owner: 3,
			Delay: 5 * time.Second, Value: []byte("v"),
		},
		&wire.Release{ID: 4, Request: request(2, 1, 1), Name: "jobs/nightly", Token: token},
		&wire.Cancel{ID: 5, Request: request(4, 2), Target: 3, Name: "jobs/nightly"},
		&wire.SetValue{ID: 6, Request: request(5, 4), Name: "jobs/nightly", Token: token, Value: []byte("127.0.0.1:80")},
		&wire.RenewLease{ID: 1, Name: "jobs/nightly", Lease: idOf(lease), Token: token, TTL: time.Hour},
		&wire.ReleaseLease{ID: 2, Name: "jobs/nightly", Lease: idOf(lease), Token: token},
		&wire.TakeLease{ID: 3, Name: "jobs/nightly", Lease: idOf(lease), Token: token, NewLease: idOf(lease + 1), TTL: time.Hour},
		&wire.CheckTokens{ID: 7, Tokens: []wire.Token{{Name: "jobs/nightly", Token: token}}},
		&wire.Get{ID: 8, Name: "jobs/nightly", Most: 10},
		&wire.List{ID: 9, Stale: true, Prefix: "jobs/", After: "jobs/daily", Most: 100},
		&wire.GetSession{ID: 10, Life: wire.Life{ID: life.ID}},
		&wire.ListSessions{ID: 11, After: 1200, Most: 100},
		&wire.Status{ID: 12},

		&wire.WaitOver{Life: life, Seq: 1, Index: 1311, Clock: clock, Outcome: granted},
		&wire.Revoked{Life: life, Name: "jobs/nightly", Token: token, How: wire.Broken, Index: 1312, Clock: clock},
		&wire.SessionEnded{Life: life, How: wire.Expired, Index: 1313, Clock: clock},
		&wire.Nodes{Leader: 7, Nodes: nodes},
		&wire.NoQuorum{Since: 1500 * time.Millisecond},

		&wire.Digest{Batch: 31, KeepAlives: []wire.KeepAlive{{Life: life, Number: 12, Age: 40 * time.Millisecond}}},
		&wire.DigestAnswer{
			Batch: 31, Index: 1310, Clock: clock, Confirmations: []wire.Confirmation{{Life: life, Number: 12, Verdict: wire.Renewed}},
		},
		&wire.Disconnected{Lives: []wire.Life{life}},
		&wire.Forward{Batch: 32, Commands: []wire.Command{{Data: []byte{1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 3}}}},
		&wire.Forwarded{Batch: 32, Clock: clock, Results: []wire.Result{
			{Place: 0, Index: 1311, Known: true, Outcome: granted}, {Place: 1, Outcome: wire.Outcome{Code: wire.Interrupted}},
		}},

		&wire.Reply{ID: 2, Index: 1309, Clock: clock, Outcome: wire.Outcome{Code: wire.Queued, Ahead: 1}},
		&wire.Failure{ID: 2, Code: wire.Overloaded, Known: true, Wait: 50 * time.Millisecond, Text: "too many requests wait"},
		&wire.TokensReply{ID: 7, Index: 1314, Clock: clock, Checks: []wire.Check{{Validity: wire.Valid, Newest: token, Floor: token}}},
		&wire.LockReply{ID: 8, Index: 1314, Clock: clock, Found: true, Lock: wire.Lock{
			Name: "jobs/nightly", Held: 1, Queue: 1, Floor: token, Newest: token, Last: granted.Previous,
			Holders: []wire.Holder{holder}, Waiters: []wire.Waiter{waiter},
		}},
		&wire.ListReply{ID: 9, Index: 1300, Clock: clock, Age: 80 * time.Millisecond, More: true, Locks: []wire.Summary{
			{Name: "jobs/nightly", Held: 1, Queue: 1, Newest: token},
		}},
		&wire.SessionReply{ID: 10, Index: 1314, Clock: clock, Sessions: []wire.Session{{Life: life, TTL: 15 * time.Second}}},
		&wire.StatusReply{
			ID: 12, Index: 1314, Clock: clock, Node: 7, Leader: 8, Term: 3, Commit: 1314, Locks: 1, Sessions: 2, Agent: "lockd/0.1",
		},
	}
}

// idOf returns an id of one byte over and over.
func idOf(b byte) (id wire.ID) {
	for i := range id {
		id[i] = b
	}
	return id
}
