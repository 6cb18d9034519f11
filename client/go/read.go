package client

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/lockd/lockd/internal/wire"
)

// The names of reads in errors.
const (
	opCheck    = "check tokens"
	opGet      = "get"
	opList     = "list"
	opSessions = "list sessions"
	opSession  = "get session"
	opStatus   = "get status"
	opNodes    = "get nodes"
)

// page is how many entries of a list are asked for at once.
const page = wire.MostMax

func readingOf(opts []ReadOption) reading {
	r := reading{most: 100}
	for _, o := range opts {
		o(&r)
	}
	r.most = min(max(r.most, 0), wire.MostMax)
	return r
}

// CheckToken asks the cluster what a token is worth, at this moment.
func (c *Client) CheckToken(ctx context.Context, name string, token uint64) (Check, error) {
	checks, err := c.CheckTokens(ctx, []NamedToken{{Name: name, Token: token}})
	if err != nil {
		return Check{}, err
	}
	return checks[0], nil
}

// CheckTokens asks for up to 1000 tokens, all at one moment.
func (c *Client) CheckTokens(ctx context.Context, tokens []NamedToken) ([]Check, error) {
	asked := make([]wire.Token, len(tokens))
	for i, t := range tokens {
		asked[i] = wire.Token{Name: t.Name, Token: t.Token}
	}
	name := ""
	if len(tokens) == 1 {
		name = tokens[0].Name
	}
	trace := traceOf(ctx)
	m, err := c.ask(ctx, &query{op: opCheck, name: name, request: func(id uint64) wire.Message {
		return &wire.CheckTokens{ID: id, Trace: trace, Tokens: asked}
	}})
	if err != nil {
		return nil, err
	}
	r, ok := m.(*wire.TokensReply)
	if !ok || len(r.Checks) != len(tokens) {
		return nil, unexpected(m, opCheck, name)
	}
	checks := make([]Check, len(tokens))
	for i, k := range r.Checks {
		checks[i] = Check{Validity: Validity(k.Validity), Newest: k.Newest, Floor: k.Floor}
	}
	return checks, nil
}

// Get returns a lock. ErrNotFound: nobody holds it or waits for it.
func (c *Client) Get(ctx context.Context, name string, opts ...ReadOption) (LockInfo, error) {
	o, trace := readingOf(opts), traceOf(ctx)
	m, err := c.ask(ctx, &query{op: opGet, name: name, request: func(id uint64) wire.Message {
		return &wire.Get{ID: id, Trace: trace, Stale: o.stale, Name: name, Most: uint64(o.most)}
	}})
	if err != nil {
		return LockInfo{}, err
	}
	r, ok := m.(*wire.LockReply)
	switch {
	case !ok:
		return LockInfo{}, unexpected(m, opGet, name)
	case !r.Found:
		return LockInfo{}, &Error{Op: opGet, Name: name, Known: true, Err: ErrNotFound}
	}
	return lockInfo(r), nil
}

// List yields the locks whose names begin with prefix, in the order of their names. An error ends it.
func (c *Client) List(ctx context.Context, prefix string, opts ...ReadOption) iter.Seq2[Summary, error] {
	o, trace := readingOf(opts), traceOf(ctx)
	return func(yield func(Summary, error) bool) {
		after := ""
		for {
			m, err := c.ask(ctx, &query{op: opList, name: prefix, request: func(id uint64) wire.Message {
				return &wire.List{ID: id, Trace: trace, Stale: o.stale, Prefix: prefix, After: after, Most: page}
			}})
			r, ok := m.(*wire.ListReply)
			if err == nil && !ok {
				err = unexpected(m, opList, prefix)
			}
			if err != nil {
				yield(Summary{}, err)
				return
			}
			for _, l := range r.Locks {
				s := Summary{Name: l.Name, Slots: int(l.Limit), Held: int(l.Held), Waiting: int(l.Queue), Newest: l.Newest}
				if !yield(s, nil) {
					return
				}
				after = l.Name
			}
			if !r.More || len(r.Locks) == 0 {
				return
			}
		}
	}
}

// Sessions yields the living sessions, oldest first. An error ends it.
func (c *Client) Sessions(ctx context.Context, opts ...ReadOption) iter.Seq2[SessionInfo, error] {
	o, trace := readingOf(opts), traceOf(ctx)
	return func(yield func(SessionInfo, error) bool) {
		after := uint64(0)
		for {
			m, err := c.ask(ctx, &query{op: opSessions, request: func(id uint64) wire.Message {
				return &wire.ListSessions{ID: id, Trace: trace, Stale: o.stale, After: after, Most: page}
			}})
			r, ok := m.(*wire.SessionReply)
			if err == nil && !ok {
				err = unexpected(m, opSessions, "")
			}
			if err != nil {
				yield(SessionInfo{}, err)
				return
			}
			for i := range r.Sessions {
				if !yield(sessionInfo(&r.Sessions[i]), nil) {
					return
				}
				after = r.Sessions[i].Life.Index
			}
			if !r.More || len(r.Sessions) == 0 {
				return
			}
		}
	}
}

// SessionInfo returns a session. ErrNotFound: there is none (any more).
func (c *Client) SessionInfo(ctx context.Context, id SessionID, opts ...ReadOption) (SessionInfo, error) {
	o, trace := readingOf(opts), traceOf(ctx)
	m, err := c.ask(ctx, &query{op: opSession, name: id.String(), request: func(request uint64) wire.Message {
		return &wire.GetSession{ID: request, Trace: trace, Stale: o.stale, Life: wire.Life{ID: wire.ID(id)}}
	}})
	if err != nil {
		return SessionInfo{}, err
	}
	r, ok := m.(*wire.SessionReply)
	switch {
	case !ok:
		return SessionInfo{}, unexpected(m, opSession, id.String())
	case len(r.Sessions) == 0:
		return SessionInfo{}, &Error{Op: opSession, Name: id.String(), Known: true, Err: ErrNotFound}
	}
	return sessionInfo(&r.Sessions[0]), nil
}

// Status asks the node at an endpoint, host:port, how it is, in one attempt. An empty endpoint means any node.
func (c *Client) Status(ctx context.Context, endpoint string) (Status, error) {
	trace := traceOf(ctx)
	request := func(id uint64) wire.Message { return &wire.Status{ID: id, Trace: trace} }
	var m wire.Message
	var err error
	if endpoint == "" {
		m, err = c.ask(ctx, &query{op: opStatus, request: request})
	} else {
		m, err = c.askNode(ctx, endpoint, request)
	}
	if err != nil {
		return Status{}, err
	}
	r, ok := m.(*wire.StatusReply)
	if !ok {
		return Status{}, unexpected(m, opStatus, endpoint)
	}
	s := Status{
		Node: r.Node, Agent: r.Agent, Leader: r.Leader, Term: r.Term, Commit: r.Commit, Applied: r.Index, Locks: r.Locks,
		Sessions: r.Sessions, Clock: r.Clock,
	}
	nodes, _ := c.dir.list()
	if i := slices.IndexFunc(nodes, func(n wire.Node) bool { return n.ID == r.Node }); i >= 0 {
		s.Name = nodes[i].Name
	}
	return s, nil
}

// askNode asks one node, over a connection of its own.
func (c *Client) askNode(ctx context.Context, endpoint string, request func(id uint64) wire.Message) (wire.Message, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ctx, done := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, errSilent)
	defer done()
	l, err := c.dir.open(ctx, endpoint)
	if err != nil {
		return nil, asUnavailable(err).of(opStatus, endpoint)
	}
	ex := newExchange(l)
	ended := make(chan struct{})
	if !c.start(func(context.Context) { defer close(ended); ex.serve(ctx, c.dir) }) {
		l.close()
		return nil, (&Error{Known: true, Err: ErrClosed}).of(opStatus, endpoint)
	}
	m, _, err := ex.ask(ctx, request)
	cancel()
	<-ended
	if err != nil {
		return nil, asUnavailable(err).of(opStatus, endpoint)
	}
	if f, ok := m.(*wire.Failure); ok {
		return nil, failure(f, endpoint).of(opStatus, endpoint)
	}
	return m, nil
}

// asUnavailable returns what a node said, or that none did.
func asUnavailable(err error) *Error {
	e := asError(err)
	if e.Err == err { //nolint:errorlint // the question is whether asError made it
		e.Err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return e
}

// Nodes returns the nodes of the cluster as one of them knows them.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	m, err := c.ask(ctx, &query{op: opNodes, request: func(id uint64) wire.Message { return &wire.Status{ID: id} }})
	if err != nil {
		return nil, err
	}
	r, ok := m.(*wire.StatusReply)
	if !ok {
		return nil, unexpected(m, opNodes, "")
	}
	known, leader := c.dir.list()
	if r.Leader != 0 {
		leader = r.Leader
	}
	nodes := make([]Node, len(known))
	for i, n := range known {
		nodes[i] = Node{ID: n.ID, Name: n.Name, Address: n.Address, Voter: n.Voter, Leader: n.ID == leader}
	}
	return nodes, nil
}
