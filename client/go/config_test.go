package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/internal/wire"
)

// TestConfig names every field that is wrong.
func TestConfig(t *testing.T) {
	good := []string{"127.0.0.1:7400"}
	for _, c := range []struct {
		config client.Config
		want   string // empty: it is right
	}{
		{client.Config{Endpoints: good}, ""},
		{client.Config{Endpoints: good, TTL: time.Minute, Grace: time.Minute}, ""},
		{client.Config{}, "Endpoints"},
		{client.Config{Endpoints: []string{"a:1", "b"}}, "Endpoints[1]"},
		{client.Config{Endpoints: good, TTL: time.Millisecond}, "TTL"},
		{client.Config{Endpoints: good, TTL: time.Hour}, "TTL"},
		{client.Config{Endpoints: good, Grace: 16 * time.Second}, "Grace"},
		{client.Config{Endpoints: good, TTL: 5 * time.Second, Grace: 6 * time.Second}, "Grace"},
		{client.Config{Endpoints: good, Identity: strings.Repeat("x", 1025)}, "Identity"},
		{client.Config{Endpoints: good, RequestTimeout: -1}, "RequestTimeout"},
		{client.Config{Endpoints: good, Credential: make([]byte, 8193)}, "Credential"},
	} {
		_, err := client.New(c.config)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), "Config."+c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

// certificate returns a certificate for a host, signed by itself.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLS verifies the node by the name of its endpoint, sends the credential only to one that is verified, and bounds the handshake
// by the ctx.
func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		cert, pool := certificate(t, "x")
		raw, err := n.Host("x").Listen("x:1")
		if err != nil {
			t.Fatal(err)
		}
		l := tls.NewListener(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		credentials := make(chan string, 10)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go serveStatus(conn, credentials)
			}
		}()
		silent, err := n.Host("y").Listen("y:1")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = l.Close(), silent.Close() }()
		open := func(endpoint string, config *tls.Config) *client.Client {
			c, err := client.New(client.Config{
				Endpoints: []string{endpoint}, Dial: n.Host("a").Dial, TLS: config, Credential: []byte("secret"), RequestTimeout: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		for _, s := range []struct {
			what, endpoint string
			config         *tls.Config
			ok             bool
		}{
			{"verified", "x:1", &tls.Config{RootCAs: pool}, true},
			{"another name", "x:1", &tls.Config{RootCAs: pool, ServerName: "z"}, false},
			{"not trusted", "x:1", &tls.Config{RootCAs: x509.NewCertPool()}, false},
			{"not trusted, not verified", "x:1", &tls.Config{InsecureSkipVerify: true}, true}, //nolint:gosec // that is the case
			{"silent", "y:1", &tls.Config{RootCAs: pool}, false},
			{"no TLS", "x:1", nil, false},
		} {
			c := open(s.endpoint, s.config)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			began := time.Now()
			_, err := c.Status(ctx, s.endpoint)
			if (err == nil) != s.ok || err != nil && !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("%s: %v", s.what, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: took %v", s.what, took)
			}
			cancel()
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("%s: %v", s.what, err)
			}
			if got := len(credentials); got > 0 != s.ok {
				t.Errorf("%s: %d credentials were sent", s.what, got)
			} else if s.ok && <-credentials != "secret" {
				t.Errorf("%s: another credential", s.what)
			}
		}
	})
}

// serveStatus welcomes a client and tells it one status.
func serveStatus(conn net.Conn, credentials chan<- string) {
	defer func() { _ = conn.Close() }()
	r, w := wire.NewReader(conn, wire.HelloMax), wire.NewWriter(conn)
	for m, err := r.Read(); err == nil; m, err = r.Read() {
		switch m := m.(type) {
		case *wire.Hello:
			credentials <- string(m.Credential)
			_ = w.Write(&wire.Welcome{Version: 1, Cluster: wire.ID{1}, Incarnation: wire.ID{1}, Node: 1})
		case *wire.Status:
			_ = w.Write(&wire.StatusReply{ID: m.ID, Node: 1})
		}
		_ = w.Flush()
	}
}
