package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// handshakeMax bounds the handshake of a Dialer.
const handshakeMax = 5 * time.Second

// Server returns the configuration of a server. With a CA file clients must have certificates of those authorities. Without one
// they need none; if nodes is not nil, who comes is asked for one all the same, so that nodes.CheckNode can tell nodes from clients.
func (s *Store) Server(nodes *Store) (*tls.Config, error) {
	if s.o.Cert == "" {
		return nil, errors.New("a server needs a certificate and a key")
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := s.server(nil)
			if nodes != nil && config.ClientAuth == tls.NoClientCert {
				config.ClientAuth, config.ClientCAs = tls.RequestClientCert, nodes.current.Load().authorities
			}
			return config, nil
		},
	}, nil
}

// Peer returns the configuration of both sides of a connection between nodes. Each side must have a certificate of the authorities,
// with the name Options.Node; the host that was dialed does not matter.
func (s *Store) Peer() (*tls.Config, error) {
	if s.o.Node == "" {
		return nil, errors.New("Options.Node is empty, so nodes cannot be told from clients")
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.server(s.CheckNode), nil },
		ServerName:             s.o.Node,
		GetClientCertificate:   s.clientCertificate,
		InsecureSkipVerify:     true, // VerifyConnection does it, by the authorities of the moment
		VerifyConnection:       func(state tls.ConnectionState) error { return s.verifyNode(state, x509.ExtKeyUsageServerAuth) },
	}, nil
}

// Dialer returns a function that dials with dial (nil: TCP) and then speaks TLS as a client, checking the server by the authorities of
// the moment and the host that was dialed. The handshake has five seconds.
func (s *Store) Dialer(dial func(ctx context.Context, address string) (net.Conn, error)) func(ctx context.Context, address string) (net.Conn, error) {
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		socket, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(socket, &tls.Config{
			MinVersion:           tls.VersionTLS13,
			ServerName:           host,
			RootCAs:              s.current.Load().authorities,
			GetClientCertificate: s.clientCertificate,
		})
		ctx, cancel := context.WithTimeout(ctx, handshakeMax)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = socket.Close()
			return nil, fmt.Errorf("TLS with %s: %w", address, s.explain(err))
		}
		return conn, nil
	}
}

// server returns the configuration of one handshake; verify, if not nil, is a further check of the client.
func (s *Store) server(verify func(tls.ConnectionState) error) *tls.Config {
	m := s.current.Load()
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		Certificates:           []tls.Certificate{*m.certificate},
		VerifyConnection:       verify,
	}
	if m.authorities != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, m.authorities
	}
	return config
}

// clientCertificate is what a client shows when it is asked; an empty one says that there is none.
func (s *Store) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c := s.current.Load().certificate; c != nil {
		return c, nil
	}
	return new(tls.Certificate), nil
}

// CheckNode returns why a client is no node: its certificate is missing, is not of the authorities, or lacks the name.
func (s *Store) CheckNode(state tls.ConnectionState) error {
	return s.verifyNode(state, x509.ExtKeyUsageClientAuth)
}

// verifyNode verifies the certificate of the other side by the authorities of the moment, and that it is a node's.
func (s *Store) verifyNode(state tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("a certificate is missing: only nodes may do this")
	}
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: s.current.Load().authorities, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("the certificate of %q is no node's: %w", leaf.Subject.CommonName, s.explain(err))
	}
	if err := leaf.VerifyHostname(s.o.Node); err != nil {
		return fmt.Errorf("the certificate of %q is no node's: it lacks the name %s", leaf.Subject.CommonName, s.o.Node)
	}
	return nil
}

// explain says where the authorities are from that did not sign a certificate.
func (s *Store) explain(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		return err
	}
	if s.o.CA == "" {
		return fmt.Errorf("%w; the authorities are the system's, as no CA file is named", err)
	}
	return fmt.Errorf("%w; the authorities are those in %s", err, s.o.CA)
}
