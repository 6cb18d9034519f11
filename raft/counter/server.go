package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/lockd/lockd/raft"
)

// requestTimeout bounds what one HTTP request may wait for.
const requestTimeout = 5 * time.Second

// server is the HTTP face of a node.
type server struct {
	node    *raft.Node
	machine *machine
	members []member
}

// answer is the body of every response; what does not apply is left out.
type answer struct {
	Value   uint64      `json:"value"`
	Index   raft.Index  `json:"index,omitempty"`
	Error   string      `json:"error,omitempty"`
	Unknown bool        `json:"unknown,omitempty"` // the operation may have been counted
	Leader  string      `json:"leader,omitempty"`  // name of the leading member
	Role    string      `json:"role,omitempty"`
	Term    raft.Term   `json:"term,omitempty"`
	Commit  raft.Index  `json:"commit,omitempty"`
	Applied raft.Index  `json:"applied,omitempty"`
	Digest  string      `json:"digest,omitempty"`
	Twice   uint64      `json:"twice,omitempty"`
	Ops     [][2]uint64 `json:"ops,omitempty"`
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", s.add)
	mux.HandleFunc("GET /value", s.value)
	mux.HandleFunc("GET /ops", s.ops)
	mux.HandleFunc("GET /status", s.status)
	return mux
}

func (s *server) add(w http.ResponseWriter, r *http.Request) {
	op, err := operationOf(r)
	if err != nil {
		s.reply(w, http.StatusBadRequest, answer{Error: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	res, err := s.node.Propose(ctx, raft.Proposal{Data: op.encode()})
	if err != nil {
		s.fail(w, err)
		return
	}
	value, _ := res.Value.(uint64)
	s.reply(w, http.StatusOK, answer{Value: value, Index: res.At.Index})
}

func operationOf(r *http.Request) (operation, error) {
	client, err := strconv.ParseUint(r.FormValue("client"), 10, 64)
	if err != nil {
		return operation{}, errors.New("client must be a number")
	}
	seq, err := strconv.ParseUint(r.FormValue("seq"), 10, 64)
	if err != nil {
		return operation{}, errors.New("seq must be a number")
	}
	return operation{client, seq}, nil
}

// read makes what follows linearizable.
func (s *server) read(w http.ResponseWriter, r *http.Request) (raft.Index, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	index, err := s.node.Read(ctx)
	if err != nil {
		s.fail(w, err)
	}
	return index, err == nil
}

func (s *server) value(w http.ResponseWriter, r *http.Request) {
	if index, ok := s.read(w, r); ok {
		s.machine.mu.Lock()
		value := s.machine.state.Value
		s.machine.mu.Unlock()
		s.reply(w, http.StatusOK, answer{Value: value, Index: index})
	}
}

func (s *server) ops(w http.ResponseWriter, r *http.Request) {
	client, err := strconv.ParseUint(r.FormValue("client"), 10, 64)
	if err != nil {
		s.reply(w, http.StatusBadRequest, answer{Error: "client must be a number"})
		return
	}
	if index, ok := s.read(w, r); ok {
		s.machine.mu.Lock()
		ops := append([][2]uint64(nil), s.machine.state.Ops[client]...)
		s.machine.mu.Unlock()
		s.reply(w, http.StatusOK, answer{Ops: ops, Index: index})
	}
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	st, _, err := s.node.Status(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	a := answer{Role: st.Role.String(), Term: st.Term, Commit: st.Commit, Leader: s.name(st.Leader)}
	s.machine.mu.Lock()
	a.Value, a.Applied, a.Twice = s.machine.state.Value, s.machine.mark.Index, s.machine.state.Twice
	a.Digest = strconv.FormatUint(s.machine.state.Digest, 16)
	s.machine.mu.Unlock()
	s.reply(w, http.StatusOK, a)
}

func (s *server) name(id raft.PeerID) string {
	for _, m := range s.members {
		if nodeID(m.name) == id.Node {
			return m.name
		}
	}
	return ""
}

func (s *server) fail(w http.ResponseWriter, err error) {
	a := answer{Error: err.Error(), Unknown: errors.Is(err, raft.ErrUnknown)}
	if e, ok := errors.AsType[*raft.NotLeaderError](err); ok {
		a.Leader = s.name(e.Leader)
	}
	s.reply(w, http.StatusServiceUnavailable, a)
}

func (*server) reply(w http.ResponseWriter, code int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a) // a client that has gone needs no answer
}
