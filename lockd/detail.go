package lockd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// nodeDetail is what a node tells whoever probes its Raft port, beyond what package tcp tells by itself.
type nodeDetail struct {
	name   string
	client string        // address of its client port
	nonce  nonce         // of its cluster
	low    bool          // its disk is nearly full
	voters []raft.PeerID // of its cluster; none before it is founded
}

const (
	detailVersion    = 1
	detailLow        = 1 // a flag
	detailAddressMax = 255
)

var errBadDetail = errors.New("bad detail of a node's status")

// encode returns at most tcp.MaxDetailBytes, given names and addresses within their bounds.
func (d nodeDetail) encode() []byte {
	flags := byte(0)
	if d.low {
		flags = detailLow
	}
	b := append(make([]byte, 0, tcp.MaxDetailBytes), detailVersion, flags)
	b = appendShort(b, d.name)
	b = appendShort(b, d.client)
	b = append(b, d.nonce[:]...)
	b = append(b, byte(len(d.voters)))
	for _, v := range d.voters {
		b = binary.LittleEndian.AppendUint64(b, uint64(v.Node))
		b = binary.LittleEndian.AppendUint64(b, v.Incarnation)
	}
	return b
}

func appendShort(b []byte, s string) []byte {
	s = s[:min(len(s), detailAddressMax)]
	return append(append(b, byte(len(s))), s...)
}

func decodeDetail(b []byte) (d nodeDetail, err error) {
	take := func(n int) []byte {
		if n > len(b) {
			err, b = errBadDetail, nil
			return make([]byte, n)
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	if v := take(1)[0]; v != detailVersion {
		return nodeDetail{}, fmt.Errorf("%w: version %d, this build knows %d", errBadDetail, v, detailVersion)
	}
	d.low = take(1)[0]&detailLow != 0
	d.name = string(take(int(take(1)[0])))
	d.client = string(take(int(take(1)[0])))
	copy(d.nonce[:], take(len(d.nonce)))
	for range take(1)[0] {
		if err != nil {
			break
		}
		id := raft.PeerID{Node: raft.NodeID(binary.LittleEndian.Uint64(take(8)))}
		id.Incarnation = binary.LittleEndian.Uint64(take(8))
		d.voters = append(d.voters, id)
	}
	if len(b) > 0 {
		err = errBadDetail
	}
	if err != nil {
		return nodeDetail{}, err
	}
	return d, nil
}
