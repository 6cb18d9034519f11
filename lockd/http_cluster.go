package lockd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/lockd/lockd/membership"
)

// Paths of the HTTP port about the cluster.
const (
	httpInit     = "/cluster/init"
	httpJoin     = "/cluster/join"
	httpOrder    = "/cluster/order"
	httpKeyring  = "/keyring"
	httpHealth   = "/cluster/health" // changes nothing
	httpCheck    = "/doctor"         // changes nothing either, but keeps the disk and the others busy
	httpBodyMax  = 16 << 10
	httpOrderMax = 30 * time.Second // for an order to be followed; how it ended can still be told then
)

// KeyOrder asks for a step of a rotation of the gossip keys; see membership.Gossip.
type KeyOrder struct {
	Kind KeyOrderKind `json:"kind"`
	Key  string       `json:"key"` // base64 to install; else the name of the key
}

// KeyOrderKind says what a KeyOrder asks for.
type KeyOrderKind string

// Kinds of orders about keys, in the order of a rotation.
const (
	KeyInstall KeyOrderKind = "install"
	KeyUse     KeyOrderKind = "use"
	KeyRemove  KeyOrderKind = "remove"
)

// JoinOrder asks a node without a cluster to join the one of the nodes at a gossip address; see Server.Join.
type JoinOrder struct {
	Seed string `json:"seed"`
}

// OrderDone says what an order has done.
type OrderDone struct {
	Done string `json:"done"`
}

// clusterAdmin is what the HTTP port changes.
type clusterAdmin struct {
	Members func() ([]GossipMember, error)
	Health  func(ctx context.Context) (*ClusterHealth, error)
	Init    func(ctx context.Context) error
	Join    func(ctx context.Context, seed string) (string, error)
	Order   func(ctx context.Context, o Order) (string, error)
	Keys    func(ctx context.Context, o KeyOrder) error
	Check   func(ctx context.Context) (*Checkup, error)
}

// routes adds the paths.
func (a *clusterAdmin) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /gossip", bounded(func(w http.ResponseWriter, _ *http.Request) {
		members, err := a.Members()
		if err != nil {
			unavailable(w, err)
			return
		}
		writeJSON(w, members)
	}))
	mux.HandleFunc("GET "+httpHealth, bounded(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), httpAnswerTimeout, errNoAnswer)
		defer cancel()
		h, err := a.Health(ctx)
		if err != nil {
			unavailable(w, err)
			return
		}
		writeJSON(w, h)
	}))
	handle(mux, httpInit, func(ctx context.Context, _ struct{}) (OrderDone, error) {
		return OrderDone{"the cluster is founded"}, a.Init(ctx)
	})
	handle(mux, httpJoin, func(ctx context.Context, o JoinOrder) (OrderDone, error) {
		done, err := a.Join(ctx, o.Seed)
		return OrderDone{done}, err
	})
	handle(mux, httpOrder, func(ctx context.Context, o Order) (OrderDone, error) {
		done, err := a.Order(ctx, o)
		return OrderDone{done}, err
	})
	handle(mux, httpKeyring, func(ctx context.Context, o KeyOrder) (OrderDone, error) {
		return OrderDone{"all nodes have followed"}, a.Keys(ctx, o)
	})
	handle(mux, httpCheck, func(ctx context.Context, _ struct{}) (*Checkup, error) { return a.Check(ctx) })
}

// handle takes orders from this machine only: whoever reaches the port may look, and nobody has said who he is. A page in a browser of
// this machine cannot give any either, as it cannot send JSON to another place, nor pretend that its own name is this machine's.
func handle[T, R any](mux *http.ServeMux, path string, do func(ctx context.Context, what T) (R, error)) {
	mux.HandleFunc("POST "+path, within(httpOrderMax+httpAnswerTimeout, func(w http.ResponseWriter, r *http.Request) {
		if !fromHere(r) {
			http.Error(w, "this is for the node's own machine only, over a loopback address", http.StatusForbidden)
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			http.Error(w, "an order is application/json", http.StatusUnsupportedMediaType)
			return
		}
		var what T
		read := json.NewDecoder(io.LimitReader(r.Body, httpBodyMax))
		read.DisallowUnknownFields()
		if err := read.Decode(&what); err != nil {
			http.Error(w, "the order is not understood: "+err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeoutCause(r.Context(), httpOrderMax, errNoAnswer)
		defer cancel()
		done, err := do(ctx, what)
		switch {
		case err == nil:
			writeJSON(w, done)
		case errors.Is(err, ErrNode):
			http.Error(w, err.Error(), http.StatusNotFound)
		default:
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}))
}

// fromHere reports whether a request came over a loopback address, to a loopback name, and was not passed on by a proxy that says so.
func fromHere(r *http.Request) bool {
	for _, passedOn := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(passedOn) != "" {
			return false
		}
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	at, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && at.IsLoopback()
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

var errNoGossip = errors.New("this node does not gossip: start it with a gossip port")

// rotate follows an order about the gossip keys. All nodes of the configuration must be there.
func (n *node) rotate(ctx context.Context, o KeyOrder) error {
	if n.gossip == nil {
		return errNoGossip
	}
	var required []membership.Peer
	if n.hasJoined() {
		s, _, err := n.raft.Status(ctx)
		if err != nil {
			return err
		}
		for _, p := range s.Config.Peers() {
			required = append(required, membership.Peer{Node: uint64(p.ID.Node), Incarnation: p.ID.Incarnation})
		}
	}
	if o.Kind == KeyInstall {
		k, err := membership.ParseKey(o.Key)
		if err != nil {
			return err
		}
		return n.gossip.InstallKey(ctx, k, required)
	}
	id, err := membership.ParseKeyID(o.Key)
	switch {
	case err != nil:
		return err
	case o.Kind == KeyUse:
		return n.gossip.UseKey(ctx, id, required)
	case o.Kind == KeyRemove:
		return n.gossip.RemoveKey(ctx, id, required)
	}
	return fmt.Errorf("the order %q is not known", o.Kind)
}
