package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// nodes is the usual size of a cluster.
const nodes = 3

// system is one of the services compared.
type system struct {
	name      string
	about     string
	program   string // the package of its server
	module    string // whose versions of dependencies it is built with; default those of this module
	installed string // or the program of its server, which is found and not built

	// args are those of the server on node i.
	args func(all []*node, i int) []string
	// pprof is the address where a node serves profiles of itself; nil: it has none.
	pprof func(n *node) string
	// leads tells whether a node of a cluster of that size leads; an error, that it does not serve yet.
	leads func(ctx context.Context, n *node, size int) (bool, error)
	// connect opens a session on a connection of its own.
	connect func(ctx context.Context, endpoints []string, ttl time.Duration) (session, error)
}

// session is one client of a service. Its methods are safe for concurrent use with different names.
type session interface {
	// lock waits for a lock, and shows a value with it. The lock is released by what is returned.
	lock(ctx context.Context, name string, value []byte) (unlock func(context.Context) error, err error)
	// free tells, by trying to take it, whether nobody holds a lock.
	free(ctx context.Context, name string) (bool, error)
	// alive tells whether the session has lived up to now.
	alive() bool
	// close ends the session and its connection.
	close(ctx context.Context) error
}

// systems are compared with the first of them.
var systems = []system{lockd, etcd}

// others are compared when they are asked for: they are no consensus.
var others = []system{redlock}

// pick returns the systems of a list of names.
func pick(names string) ([]system, error) {
	if names == "" {
		return systems, nil
	}
	var picked []system
	for name := range strings.SplitSeq(names, ",") {
		s, err := systemByName(name)
		if err != nil {
			return nil, err
		}
		picked = append(picked, s)
	}
	return picked, nil
}

func systemByName(name string) (system, error) {
	var known []string
	for _, s := range slices.Concat(systems, others) {
		if s.name == name {
			return s, nil
		}
		known = append(known, s.name)
	}
	return system{}, fmt.Errorf("no system %q; there are %s", name, strings.Join(known, ", "))
}
