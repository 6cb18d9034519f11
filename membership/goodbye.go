package membership

import (
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

// Kinds of messages between members, in their first byte.
const (
	messageGoodbye = 'B'
	messageOrder   = 'K'
)

// spreadTime is how long a change of this node's metadata is waited for; it goes on spreading after that.
const spreadTime = time.Millisecond

// spread lets others know what NodeMeta returns now.
func spread(list *memberlist.Memberlist) {
	_ = list.UpdateNode(spreadTime) // its only error is that nobody has heard it yet
}

// sayGoodbye tells every member that this node leaves: memberlist's own word for it cannot be told from a death by who hears it. Where
// the datagram is lost the node is held for failed, which costs a few attempts to reach it.
func (g *Gossip) sayGoodbye(list *memberlist.Memberlist) {
	name := g.o.Self.Peer.name()
	for _, m := range g.Members() {
		if m.Status != Alive || m.Peer == g.o.Self.Peer {
			continue
		}
		to := memberlist.Address{Addr: m.Address.String(), Name: m.Peer.name()}
		if err := list.SendToAddress(to, append([]byte{messageGoodbye}, name...)); err != nil {
			g.o.Logger.Debug("say goodbye", slog.String("node", m.Name), slog.Any("error", err))
		}
	}
}

func decodeGoodbye(b []byte) (name string, ok bool) {
	if len(b) != 1+len(Peer{}.name()) || b[0] != messageGoodbye {
		return "", false
	}
	return string(b[1:]), true
}

func (g *Gossip) goodbye(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch m, ok := g.members[name]; {
	case !ok || m.Status == Left:
	case m.Status == Alive:
		g.leaving[name] = struct{}{}
	default: // memberlist handles what comes at once in the opposite order: this one has been declared gone before its last word
		m.Status = Left
		g.members[name] = m
		g.announce()
	}
}
