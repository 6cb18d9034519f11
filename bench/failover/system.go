package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// ttl is that of all sessions.
const ttl = 15 * time.Second

// dial opens connections from the clients' host.
type dial func(ctx context.Context, address string) (net.Conn, error)

// system is one of the services compared.
type system struct {
	name    string
	about   string
	program rig.Program
	// prepare writes what the nodes need besides their arguments, once, into the directory of the cluster.
	prepare func(dir string) error
	// args are those of the server on node i.
	args func(c *cluster, i int) []string
	// look asks a node how it is.
	look func(ctx context.Context, d dial, n *node) (view, error)
	// connect opens a session on a connection of its own.
	connect func(ctx context.Context, d dial, endpoints []string) (session, error)
}

// view is how a node sees its cluster.
type view struct {
	node, leader    uint64 // leader 0: none is known
	term            uint64
	commit, applied uint64
}

// errHeld says that a try was refused as somebody holds the lock.
var errHeld = errors.New("held")

// session is one client of a service. Its methods are safe for concurrent use with different names.
type session interface {
	// lock waits for a lock.
	lock(ctx context.Context, name string) (grant, error)
	// try takes a lock if it is free, and fails with errHeld if it is not.
	try(ctx context.Context, name string) (grant, error)
	// held returns the names below a prefix that are held.
	held(ctx context.Context, prefix string) ([]string, error)
	// alive tells whether the session has lived up to now.
	alive() bool
	// close ends the session and its connection.
	close(ctx context.Context) error
}

// grant is a lock that was got.
type grant struct {
	token  uint64 // rises from grant to grant of one name
	unlock func(context.Context) error
}

// systems are compared with the first of them.
var systems = []system{lockd, lockdWithoutHints, etcd}

// pick returns the elements of a list with the names given, with commas; all if there are none.
func pick[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var picked []T
	for want := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == want })
		if i < 0 {
			var known []string
			for _, one := range all {
				known = append(known, name(one))
			}
			return nil, fmt.Errorf("there is no %q; there are %s", want, strings.Join(known, ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
