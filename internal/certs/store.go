package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// pollEvery is the default of Options.Every.
const pollEvery = 10 * time.Second

// NodeName returns the DNS name that the certificates of a cluster's nodes bear, and no other's: node.CLUSTER.lockd.
func NodeName(cluster string) string { return "node." + cluster + ".lockd" }

// Options name the files, all of them PEM.
type Options struct {
	Cert, Key string // the own certificate, with intermediates if there are any, and its key; both empty: none
	// CA holds the authorities that sign the certificates of the other side. Empty: a server asks for none, and a client takes
	// those of the system.
	CA    string
	Node  string        // the name that only nodes bear, see NodeName; needed for Peer
	Every time.Duration // between looks at the files in Run; default ten seconds
}

// Store holds what the files held when they were last in order.
type Store struct {
	o       Options
	current atomic.Pointer[material]
}

// material is what one reload has taken in.
type material struct {
	certificate *tls.Certificate // nil: none
	authorities *x509.CertPool   // nil: those of the system
	seen        stamps
}

// stamps tell whether files have changed.
type stamps [3]stamp

type stamp struct {
	size     int64
	modified time.Time
}

// Open reads the files. An error names the file and what is wrong with it.
func Open(o Options) (*Store, error) {
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("a certificate needs a key, and a key a certificate: one of the two files is missing")
	}
	if o.Node != "" && (o.Cert == "" || o.CA == "") {
		return nil, errors.New("nodes need a certificate, a key and the authorities that sign the others' (a CA file)")
	}
	if o.Every <= 0 {
		o.Every = pollEvery
	}
	s := &Store{o: o}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the files again. On an error, which names the file and what is wrong with it, everything stays as it was.
func (s *Store) Reload() error {
	m := &material{seen: s.stamps()} // before the files are read, so that a change meanwhile is seen later
	if err := errors.Join(m.readCertificate(s.o), m.readAuthorities(s.o.CA)); err != nil {
		return err
	}
	s.current.Store(m)
	return nil
}

// Run looks at the files until ctx ends, reloads what has changed, and logs that, or why it cannot be used. It blocks.
func (s *Store) Run(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(s.o.Every)
	defer ticker.Stop()
	var refused stamps // what could not be taken in; it is told once
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		seen := s.stamps()
		if seen == s.current.Load().seen || seen == refused {
			continue
		}
		if err := s.Reload(); err != nil {
			refused = seen
			log.WarnContext(ctx, "certificates have changed but cannot be used; those from before stay", "error", err)
			continue
		}
		refused = stamps{}
		log.InfoContext(ctx, "certificates reloaded", "file", s.o.Cert, "not_after", s.NotAfter())
	}
}

// NotAfter returns when the own certificate expires; zero if there is none.
func (s *Store) NotAfter() time.Time {
	if c := s.current.Load().certificate; c != nil {
		return c.Leaf.NotAfter
	}
	return time.Time{}
}

func (s *Store) stamps() (seen stamps) {
	for i, file := range [...]string{s.o.Cert, s.o.Key, s.o.CA} {
		if file == "" {
			continue
		}
		if info, err := os.Stat(file); err == nil {
			seen[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return seen
}

func (m *material) readCertificate(o Options) error {
	if o.Cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", o.Cert, o.Key, err)
	}
	now := time.Now()
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate %s expired on %v", o.Cert, leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate %s is valid from %v on, and the clock says %v", o.Cert, leaf.NotBefore, now.UTC().Truncate(time.Second))
	case o.Node == "":
	case leaf.VerifyHostname(o.Node) != nil:
		return fmt.Errorf("certificate %s lacks the name %s, by which nodes know each other; it has %q", o.Cert, o.Node, leaf.DNSNames)
	case !mayBe(leaf, x509.ExtKeyUsageServerAuth) || !mayBe(leaf, x509.ExtKeyUsageClientAuth):
		return fmt.Errorf("certificate %s must be for servers and for clients: a node is both", o.Cert)
	}
	m.certificate = &pair
	return nil
}

// mayBe reports whether the certificate may be used so; one that names no use may be used for all.
func mayBe(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func (m *material) readAuthorities(file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("authorities: %w", err)
	}
	m.authorities = x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("authorities %s: certificate %d: %w", file, n+1, err)
		}
		m.authorities.AddCert(c)
		n++
	}
	if n == 0 {
		return fmt.Errorf("authorities %s: there is no certificate in it", file)
	}
	return nil
}
