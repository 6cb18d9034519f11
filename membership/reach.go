package membership

import (
	"errors"
	"net"
)

// reachPings is how many datagrams are sent before it is said that none arrives: some may be lost.
const reachPings = 3

// Reach tries the way to a member's gossip port: a datagram and its answer, and the exchange of everything by a stream, as at a join.
// It blocks for as long as the profile waits for them: a few probes, and one stream.
func (g *Gossip) Reach(m Member) (udp, tcp error) {
	g.mu.Lock()
	list := g.list
	g.mu.Unlock()
	if list == nil {
		err := errors.New("this node does not gossip yet")
		return err, err
	}
	at := &net.UDPAddr{IP: m.Address.Addr().AsSlice(), Port: int(m.Address.Port()), Zone: m.Address.Addr().Zone()}
	for range reachPings {
		if _, udp = list.Ping(m.Peer.name(), at); udp == nil {
			break
		}
	}
	_, tcp = list.Join([]string{m.Address.String()})
	return udp, tcp
}
