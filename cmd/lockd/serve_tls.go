package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/lockd/lockd/internal/certs"
	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/lockd"
)

// nodeTLS is the certificates of a node: one of its own, which it shows to clients and to other nodes.
type nodeTLS struct {
	files   [4]string
	clients *certs.Store // the client port; nil: no TLS
	nodes   *certs.Store // between nodes; nil: no TLS
}

func tlsFiles(s *settings) [4]string { return [4]string{s.TLSCert, s.TLSKey, s.TLSCA, s.TLSClientCA} }

// openTLS reads the files, and gives the configuration of the node what follows from them.
func openTLS(s *settings, c *lockd.Config) (*nodeTLS, error) {
	t := &nodeTLS{files: tlsFiles(s)}
	switch {
	case t.files == [4]string{}:
		return t, nil
	case s.TLSCert == "":
		return nil, errors.New("tls_cert is missing: the other TLS files mean nothing without it")
	case s.TLSCA == "" && len(s.InitialCluster) > 1:
		return nil, errors.New("tls_ca is missing: the nodes need it to know each other")
	}
	var err error
	if s.TLSCA != "" {
		node := certs.NodeName(s.ClusterName)
		if t.nodes, err = certs.Open(certs.Options{Cert: s.TLSCert, Key: s.TLSKey, CA: s.TLSCA, Node: node}); err != nil {
			return nil, err
		}
		if c.RaftTLS, err = t.nodes.Peer(); err != nil {
			return nil, err
		}
		c.PeerTLS, c.CheckNode = c.RaftTLS, t.nodes.CheckNode
	}
	if t.clients, err = certs.Open(certs.Options{Cert: s.TLSCert, Key: s.TLSKey, CA: s.TLSClientCA}); err != nil {
		return nil, err
	}
	c.ClientTLS, err = t.clients.Server(t.nodes)
	return t, err
}

func (t *nodeTLS) stores() []*certs.Store {
	var stores []*certs.Store
	for _, s := range []*certs.Store{t.clients, t.nodes} {
		if s != nil {
			stores = append(stores, s)
		}
	}
	return stores
}

// run takes in what changes in the files until ctx ends.
func (t *nodeTLS) run(ctx context.Context, log *slog.Logger) {
	var all sync.WaitGroup
	for _, s := range t.stores() {
		all.Go(func() { s.Run(ctx, log) })
	}
	all.Wait()
}

// observe shows when the certificates expire.
func (t *nodeTLS) observe(to *telemetry.Telemetry) error {
	return certs.Observe(to.MeterProvider, map[string]*certs.Store{"client": t.clients, "raft": t.nodes})
}

// reload reads the files again. Other files than those the node began with need a restart.
func (t *nodeTLS) reload(s *settings) error {
	if tlsFiles(s) != t.files {
		return errors.New("other names of TLS files need a restart; the contents of the files do not")
	}
	var errs []error
	for _, store := range t.stores() {
		errs = append(errs, store.Reload())
	}
	return errors.Join(errs...)
}
