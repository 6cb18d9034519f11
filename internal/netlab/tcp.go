package netlab

import (
	"encoding/binary"
	"maps"
	"net/netip"
)

// mostFlows bounds the connections that a link knows. Later ones cannot be reset.
const mostFlows = 1 << 16

const (
	protocolTCP = 6

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// flow is one direction of a TCP connection, within its link.
type flow struct{ from, to uint16 }

func (f flow) back() flow { return flow{f.to, f.from} }

// position is where the sender of a flow stands.
type position struct {
	next uint32 // behind everything that it has sent
	ack  uint32 // what it expects of the other side, as far as it has said so
}

// follow notes where a TCP connection stands; the caller holds mu.
func (l *link) follow(packet []byte) {
	segment := packet[headerBytes(packet):]
	if packet[9] != protocolTCP || len(segment) < 20 {
		return
	}
	f := flow{binary.BigEndian.Uint16(segment), binary.BigEndian.Uint16(segment[2:])}
	flags := segment[13]
	if flags&(flagFIN|flagRST) != 0 {
		delete(l.flows, f)
		return
	}
	p, known := l.flows[f]
	if !known && len(l.flows) >= mostFlows {
		return
	}
	next := binary.BigEndian.Uint32(segment[4:]) + uint32(max(0, len(segment)-int(segment[12]>>4)*4))
	if flags&flagSYN != 0 {
		next++
	}
	if !known || flags&flagSYN != 0 || int32(next-p.next) > 0 {
		p.next = next
	}
	if flags&flagACK != 0 {
		p.ack = binary.BigEndian.Uint32(segment[8:])
	}
	l.flows[f] = p
}

// takeFlows returns the connections that the link knows, and forgets them.
func (l *link) takeFlows() map[flow]position {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := maps.Clone(l.flows)
	clear(l.flows)
	return known
}

// reset ends all connections between two hosts, as each of them sees it, and returns how many there were. A receiver believes a reset
// at the very byte that it expects next (RFC 5961, 3.2): what it last asked for, or what follows the last byte that it was sent.
func reset(a, b netip.Addr, there, back *link) {
	connections := int64(0)
	forth, home := there.takeFlows(), back.takeFlows()
	for f, p := range forth {
		q, known := home[f.back()]
		if !known {
			continue
		}
		connections++
		for _, seq := range []uint32{q.ack, p.next} {
			there.send(resetSegment(a, b, f, seq))
		}
		for _, seq := range []uint32{p.ack, q.next} {
			back.send(resetSegment(b, a, f.back(), seq))
		}
	}
	there.mu.Lock()
	there.stats.Resets += connections
	there.mu.Unlock()
}

// resetSegment is a packet from one host to another that ends a connection.
func resetSegment(from, to netip.Addr, f flow, seq uint32) []byte {
	const ip, tcp = 20, 20
	packet := make([]byte, ip+tcp)
	packet[0] = 4<<4 | ip/4
	binary.BigEndian.PutUint16(packet[2:], ip+tcp)
	packet[8], packet[9] = 64, protocolTCP // lifetime
	source, target := from.As4(), to.As4()
	copy(packet[12:], source[:])
	copy(packet[16:], target[:])
	binary.BigEndian.PutUint16(packet[10:], checksum(packet[:ip], 0))

	segment := packet[ip:]
	binary.BigEndian.PutUint16(segment, f.from)
	binary.BigEndian.PutUint16(segment[2:], f.to)
	binary.BigEndian.PutUint32(segment[4:], seq)
	segment[12], segment[13] = tcp/4<<4, flagRST
	binary.BigEndian.PutUint16(segment[16:], checksum(packet[12:], protocolTCP+tcp)) // the addresses are part of its sum
	return packet
}

// checksum is that of the Internet protocols (RFC 1071) over an even number of bytes.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
