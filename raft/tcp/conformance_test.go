package tcp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/tcp"
)

func conform(t *testing.T, config *tls.Config) {
	t.Helper()
	rafttest.TestTransport(t, func(*testing.T) rafttest.OpenTransport {
		return func(t *testing.T, id raft.PeerID) (raft.Transport, string) {
			t.Helper()
			tr, err := tcp.New(tcp.Options{Cluster: [16]byte{1}, Self: id, Listen: "127.0.0.1:0", TLS: config})
			if err != nil {
				t.Fatal(err)
			}
			return tr, tr.Addr().String()
		}
	})
}

func TestConformance(t *testing.T) { conform(t, nil) }

func TestConformanceTLS(t *testing.T) { conform(t, selfSigned(t)) }

// selfSigned makes a configuration in which each node proves that it has the key of the cluster.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}
