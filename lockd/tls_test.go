package lockd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// certify returns a certificate for loopback that is its own authority, good for both sides of a connection.
func certify(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lockd test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}, pool
}

// Every port speaks TLS, both sides certified: clients, forwarding between nodes, and Raft.
func TestTLSOnEveryPort(t *testing.T) {
	identity, authority := certify(t)
	mutual := identity.Clone()
	mutual.ClientAuth, mutual.ClientCAs, mutual.RootCAs = tls.RequireAndVerifyClientCert, authority, authority
	dialer := identity.Clone()
	dialer.RootCAs = authority
	c := testcluster.Start(t, 3, func(_ int, c *lockd.Config) { c.ClientTLS, c.RaftTLS, c.PeerTLS = mutual, mutual, dialer })
	exercise(t, func(ctx context.Context, address string) (net.Conn, error) {
		return (&tls.Dialer{Config: dialer}).DialContext(ctx, "tcp", address)
	}, c.Endpoints())

	conn, err := dialTCP(t.Context(), c.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := newRaw(t, conn).hello(); err == nil {
		t.Error("a client without TLS was welcomed")
	}
}
