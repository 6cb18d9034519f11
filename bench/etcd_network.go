package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	etcdFrameMax    = 16 << 20
	etcdReadBuffer  = 64 << 10
	etcdQueueMax    = 4096
	etcdWriteBuffer = 1 << 20 // kept between writes
)

// etcdNetwork carries messages over one connection for each direction of each pair of nodes: a frame is the length of a
// message (4 bytes) and its protobuf encoding. All that waits for a peer goes out in one write.
type etcdNetwork struct {
	id       uint64
	listener net.Listener
	lanes    [nodes]*mailbox[*pb.Message]
	stop     chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns []net.Conn
	over  bool
}

func newEtcdNetwork(id uint64, l net.Listener) *etcdNetwork {
	return &etcdNetwork{id: id, listener: l, stop: make(chan struct{})}
}

// start dials the other nodes and delivers what they send, as much at once as has arrived.
func (n *etcdNetwork) start(addresses [nodes]string, deliver func([]*pb.Message)) {
	for i, address := range addresses {
		if uint64(i+1) != n.id {
			n.lanes[i] = newMailbox[*pb.Message]()
			n.wg.Go(func() { n.lane(address, n.lanes[i]) })
		}
	}
	n.wg.Go(func() {
		for {
			conn, err := n.listener.Accept()
			if err != nil {
				return
			}
			if n.register(conn) {
				n.wg.Go(func() { n.read(conn, deliver) })
			}
		}
	})
}

// register keeps a connection to be closed at the end.
func (n *etcdNetwork) register(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		_ = conn.Close()
		return false
	}
	n.conns = append(n.conns, conn)
	return true
}

// send queues messages for their peers. What a peer does not take is dropped.
func (n *etcdNetwork) send(ms []*pb.Message) {
	for len(ms) > 0 {
		k := 1
		for k < len(ms) && ms[k].GetTo() == ms[0].GetTo() {
			k++
		}
		lane := n.lanes[ms[0].GetTo()-1]
		if lane.len() < etcdQueueMax {
			lane.put(ms[:k]...)
		}
		ms = ms[k:]
	}
}

func (n *etcdNetwork) lane(address string, box *mailbox[*pb.Message]) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil || !n.register(conn) {
		return
	}
	var buf []byte
	for {
		select {
		case <-box.wake:
		case <-n.stop:
			return
		}
		buf = buf[:0]
		for _, m := range box.take() {
			if buf, err = appendEtcdFrame(buf, m); err != nil {
				panic(fmt.Sprintf("encode %v: %v", m, err))
			}
		}
		if _, err := conn.Write(buf); err != nil {
			return
		}
		if cap(buf) > etcdWriteBuffer {
			buf = nil
		}
	}
}

func appendEtcdFrame(b []byte, m *pb.Message) ([]byte, error) {
	start := len(b)
	b, err := proto.MarshalOptions{}.MarshalAppend(append(b, 0, 0, 0, 0), m)
	if err == nil {
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	}
	return b, err
}

func (n *etcdNetwork) read(conn net.Conn, deliver func([]*pb.Message)) {
	r := bufio.NewReaderSize(conn, etcdReadBuffer)
	var batch []*pb.Message
	var body []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size > etcdFrameMax {
			return
		}
		if uint32(cap(body)) < size {
			body = make([]byte, size)
		}
		body = body[:size]
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		m := &pb.Message{}
		if err := proto.Unmarshal(body, m); err != nil {
			return
		}
		batch = append(batch, m)
		if next, err := r.Peek(min(4, r.Buffered())); err == nil && len(next) == 4 &&
			r.Buffered() >= 4+int(binary.LittleEndian.Uint32(next)) {
			continue // another whole message is here already
		}
		deliver(batch)
		batch = nil
	}
}

// close ends all connections and returns when nothing is delivered any more.
func (n *etcdNetwork) close() {
	n.mu.Lock()
	n.over = true
	_ = n.listener.Close()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	close(n.stop)
	n.wg.Wait()
}
