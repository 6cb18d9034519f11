package certs_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/certs"
	"github.com/lockd/lockd/internal/telemetry"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes a certificate and its key for 127.0.0.1 and the DNS names; change, if not nil, changes it first.
func (a *authority) issue(dir, name string, change func(*x509.Certificate), names ...string) (cert, key string) {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	own := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(a.t, cert, block("CERTIFICATE", der))
	write(a.t, key, block("PRIVATE KEY", secret))
	return cert, key
}

func (a *authority) pem() []byte { return block("CERTIFICATE", a.cert.Raw) }

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func write(t *testing.T, file string, data ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(file, bytes.Join(data, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t *testing.T, o certs.Options) *certs.Store {
	t.Helper()
	s, err := certs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// server accepts connections, shakes hands, says hello, and tells how each handshake ended.
func server(t *testing.T, config *tls.Config) (address string, handshakes <-chan error) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ended := make(chan error, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			secure := tls.Server(conn, config)
			err = secure.HandshakeContext(t.Context())
			if err == nil {
				_, _ = secure.Write([]byte("hello"))
			}
			ended <- err
			_ = secure.Close()
		}
	}()
	return listener.Addr().String(), ended
}

type dial = func(ctx context.Context, address string) (net.Conn, error)

// greet dials, and returns the error of whatever stands between that and the server's hello.
func greet(t *testing.T, dial dial, address string) error {
	t.Helper()
	conn, err := dial(t.Context(), address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = io.ReadFull(conn, make([]byte, len("hello")))
	return err
}

// dialWith dials with one configuration, as package raft/tcp does.
func dialWith(config *tls.Config) dial {
	return func(ctx context.Context, address string) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestAnAuthorityIsReplacedWithoutAStop walks from one authority over both to the other, on a running server with a running client: each
// step is taken in by a reload, and refuses or accepts at the next handshake.
func TestAnAuthorityIsReplacedWithoutAStop(t *testing.T) {
	dir := t.TempDir()
	old, young := newAuthority(t, "ca1"), newAuthority(t, "ca2")
	ca := write(t, filepath.Join(dir, "ca.pem"), old.pem())
	cert, key := old.issue(dir, "server", nil)
	store := open(t, certs.Options{Cert: cert, Key: key, CA: ca})
	address, handshakes := server(t, must(store.Server(nil))(t))

	client := func(a *authority, name string, trusts ...[]byte) dial {
		cert, key := a.issue(dir, name, nil)
		return open(t, certs.Options{Cert: cert, Key: key, CA: write(t, filepath.Join(dir, name+"-ca.pem"), trusts...)}).Dialer(nil)
	}
	ofOld, ofYoung := client(old, "old", old.pem(), young.pem()), client(young, "young", old.pem(), young.pem())
	check := func(step string, d dial, accepted bool) {
		t.Helper()
		err, there := greet(t, d, address), <-handshakes
		if accepted != (err == nil) || accepted != (there == nil) {
			t.Fatalf("%s: accepted should be %v; the client says %v, the server %v", step, accepted, err, there)
		}
	}
	check("ca1, a client of ca1", ofOld, true)
	check("ca1, a client of ca2", ofYoung, false)

	write(t, ca, old.pem(), young.pem())
	if err := store.Reload(); err != nil {
		t.Fatal(err)
	}
	check("ca1+ca2, a client of ca1", ofOld, true)
	check("ca1+ca2, a client of ca2", ofYoung, true)

	young.issue(dir, "server", nil)
	write(t, ca, young.pem())
	if err := store.Reload(); err != nil {
		t.Fatal(err)
	}
	check("ca2, a client of ca1", ofOld, false)
	check("ca2, a client of ca2", ofYoung, true)
	check("ca2, a client that trusts ca1 alone", client(young, "behind", old.pem()), false)
}

// TestWrongAuthorityIsRefusedWithAReason on both sides.
func TestWrongAuthorityIsRefusedWithAReason(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	oursFile := write(t, filepath.Join(dir, "ours.pem"), ours.pem())
	theirsFile := write(t, filepath.Join(dir, "theirs.pem"), theirs.pem())
	node := certs.NodeName("lockd")
	cert, key := ours.issue(dir, "server", nil, node)
	store := open(t, certs.Options{Cert: cert, Key: key, CA: oursFile, Node: node})
	clientCert, clientKey := theirs.issue(dir, "stranger", nil, node)
	doubter := open(t, certs.Options{Cert: clientCert, Key: clientKey, CA: theirsFile, Node: node})
	stranger := open(t, certs.Options{Cert: clientCert, Key: clientKey, CA: oursFile})
	anonymous := open(t, certs.Options{CA: oursFile})

	address, handshakes := server(t, must(store.Server(nil))(t))
	peers, peerHandshakes := server(t, must(store.Peer())(t))
	for _, test := range []struct {
		name           string
		dial           dial
		address        string
		ended          <-chan error
		client, server string // what they say
	}{
		{
			"a client that does not trust the server", doubter.Dialer(nil), address, handshakes,
			"signed by unknown authority; the authorities are those in " + theirsFile, "remote error: tls: bad certificate",
		},
		{
			"a node that does not trust the other", dialWith(must(doubter.Peer())(t)), peers, peerHandshakes,
			`the certificate of "server" is no node's: x509: certificate signed by unknown authority; the authorities are those in ` + theirsFile, "remote error: tls: bad certificate",
		},
		{
			"a client that the server does not trust", stranger.Dialer(nil), address, handshakes,
			"remote error: tls: unknown certificate authority", "failed to verify certificate: x509: certificate signed by unknown authority",
		},
		{
			"a client without a certificate", anonymous.Dialer(nil), address, handshakes,
			"remote error: tls: certificate required", "client didn't provide a certificate",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := greet(t, test.dial, test.address); err == nil || !strings.Contains(err.Error(), test.client) {
				t.Errorf("the client says %v\nwant %s", err, test.client)
			}
			if err := <-test.ended; err == nil || !strings.Contains(err.Error(), test.server) {
				t.Errorf("the server says %v\nwant %s", err, test.server)
			}
		})
	}
}

// TestOnlyNodesSpeakOnAPortForNodes: a client's certificate of the same authority is not enough, and no host's name is needed.
func TestOnlyNodesSpeakOnAPortForNodes(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	file := write(t, filepath.Join(dir, "ca.pem"), ca.pem())
	name := certs.NodeName("lockd")
	nowhere := func(c *x509.Certificate) { c.IPAddresses = nil }
	node := func(who string) *certs.Store {
		cert, key := ca.issue(dir, who, nowhere, name)
		return open(t, certs.Options{Cert: cert, Key: key, CA: file, Node: name})
	}
	a, b := node("a"), node("b")
	address, handshakes := server(t, must(a.Peer())(t))
	if err, there := greet(t, dialWith(must(b.Peer())(t)), address), <-handshakes; err != nil || there != nil {
		t.Fatalf("a node is refused: it says %v, the other %v", err, there)
	}

	cert, key := ca.issue(dir, "client-7", nil, "client-7.example")
	client := open(t, certs.Options{Cert: cert, Key: key, CA: file})
	serverCert, _ := tls.LoadX509KeyPair(cert, key)
	impostor, _ := server(t, &tls.Config{Certificates: []tls.Certificate{serverCert}, MinVersion: tls.VersionTLS13})

	dialed := dialWith(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{serverCert}})
	if err := greet(t, dialed, address); err == nil || !strings.Contains(err.Error(), "remote error: tls: bad certificate") {
		t.Errorf("a client on a port for nodes sees %v", err)
	}
	want := `the certificate of "client-7" is no node's: it lacks the name node.lockd.lockd`
	if err := <-handshakes; err == nil || err.Error() != want {
		t.Errorf("the node says %v\nwant %s", err, want)
	}
	if err := greet(t, dialWith(must(b.Peer())(t)), impostor); err == nil || !strings.Contains(err.Error(), `the certificate of "client-7" is no node's`) {
		t.Errorf("a node that dialed a client's server says %v", err)
	}
	if _, err := client.Peer(); err == nil {
		t.Error("Peer without Options.Node gives a configuration")
	}
}

// TestNodesAreToldFromClients on a port that serves both, whether clients need certificates or not.
func TestNodesAreToldFromClients(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	file, both := write(t, filepath.Join(dir, "ca.pem"), ca.pem()), write(t, filepath.Join(dir, "both.pem"), ca.pem(), other.pem())
	name := certs.NodeName("lockd")
	cert, key := ca.issue(dir, "node", nil, name)
	nodes := open(t, certs.Options{Cert: cert, Key: key, CA: file, Node: name})
	nobody := open(t, certs.Options{CA: file})
	member := func(a *authority, who string, names ...string) *certs.Store {
		cert, key := a.issue(dir, who, nil, names...)
		return open(t, certs.Options{Cert: cert, Key: key, CA: file})
	}
	for _, clientCA := range []string{"", both} {
		config := must(open(t, certs.Options{Cert: cert, Key: key, CA: clientCA}).Server(nodes))(t)
		verdicts := make(chan error, 1)
		listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				secure, ok := conn.(*tls.Conn)
				if !ok {
					return
				}
				if err := secure.HandshakeContext(t.Context()); err != nil {
					verdicts <- err
				} else {
					verdicts <- nodes.CheckNode(secure.ConnectionState())
					_, _ = secure.Write([]byte("hello"))
				}
				_ = conn.Close()
			}
		}()
		for _, test := range []struct {
			name string
			dial dial
			want string // what is said of it, if it says that it is a node
		}{
			{"a node", nodes.Dialer(nil), ""},
			{"a client of the nodes' authority", member(ca, "client").Dialer(nil), "it lacks the name node.lockd.lockd"},
			{"a client of another authority that took the name", member(other, "thief", name).Dialer(nil), "signed by unknown authority"},
			{"a client without a certificate", nobody.Dialer(nil), "a certificate is missing"},
		} {
			err := greet(t, test.dial, listener.Addr().String())
			said := <-verdicts
			if clientCA == both && test.want == "a certificate is missing" {
				if err == nil {
					t.Errorf("%s is let in where clients need one", test.name)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s is not let in as a client: %v", test.name, err)
			}
			if (said == nil) != (test.want == "") || said != nil && !strings.Contains(said.Error(), test.want) {
				t.Errorf("%s: %v; want %q", test.name, said, test.want)
			}
		}
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(dir, "server", nil)
	store := open(t, certs.Options{Cert: cert, Key: key})
	address, handshakes := server(t, must(store.Server(nil))(t))
	err := greet(t, dialWith(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}), address)
	if there := <-handshakes; err == nil || there == nil || !strings.Contains(there.Error(), "unsupported versions") {
		t.Errorf("TLS 1.2: the client says %v, the server %v", err, there)
	}
}

// TestNothingIsResumed: a session that was resumed would outlive the authority that it was checked by.
func TestNothingIsResumed(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(dir, "server", nil)
	store := open(t, certs.Options{Cert: cert, Key: key})
	address, handshakes := server(t, must(store.Server(nil))(t))
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "server", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for range 3 {
		resumed := false
		config.VerifyConnection = func(s tls.ConnectionState) error { resumed = s.DidResume; return nil }
		if err, there := greet(t, dialWith(config), address), <-handshakes; err != nil || there != nil {
			t.Fatal(err, there)
		}
		if resumed {
			t.Fatal("a session was resumed")
		}
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	name := certs.NodeName("lockd")
	file := write(t, filepath.Join(dir, "ca.pem"), ca.pem())
	cert, key := ca.issue(dir, "good", nil, name)
	_, otherKey := ca.issue(dir, "other", nil)
	expired, expiredKey := ca.issue(dir, "expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early, earlyKey := ca.issue(dir, "early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
	nameless, namelessKey := ca.issue(dir, "nameless", nil, "db.example")
	oneSided, oneSidedKey := ca.issue(dir, "one-sided", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, name)
	for _, test := range []struct {
		name string
		o    certs.Options
		want string
	}{
		{"no key", certs.Options{Cert: cert}, "a certificate needs a key"},
		{"no such file", certs.Options{Cert: filepath.Join(dir, "missing.pem"), Key: key}, "missing.pem"},
		{"a key of another certificate", certs.Options{Cert: cert, Key: otherKey}, "other.key: tls: private key does not match"},
		{"no certificate in it", certs.Options{Cert: write(t, filepath.Join(dir, "text.pem"), []byte("hello\n")), Key: key}, "text.pem"},
		{"expired", certs.Options{Cert: expired, Key: expiredKey}, "expired.pem expired on "},
		{"not valid yet", certs.Options{Cert: early, Key: earlyKey}, "early.pem is valid from "},
		{"no authority in it", certs.Options{CA: write(t, filepath.Join(dir, "empty.pem"))}, "empty.pem: there is no certificate in it"},
		{"a broken authority", certs.Options{CA: write(t, filepath.Join(dir, "broken.pem"), ca.pem(), block("CERTIFICATE", []byte("x")))}, "broken.pem: certificate 2: "},
		{"no such authority", certs.Options{CA: filepath.Join(dir, "gone.pem")}, "gone.pem"},
		{"a node without authorities", certs.Options{Cert: cert, Key: key, Node: name}, "a CA file"},
		{"a node without the name", certs.Options{Cert: nameless, Key: namelessKey, CA: file, Node: name}, `lacks the name node.lockd.lockd, by which nodes know each other; it has ["db.example"]`},
		{"a node for servers only", certs.Options{Cert: oneSided, Key: oneSidedKey, CA: file, Node: name}, "must be for servers and for clients"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := certs.Open(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open says %v\nwant %s", err, test.want)
			}
		})
	}
	if _, err := open(t, certs.Options{CA: file}).Server(nil); err == nil {
		t.Error("a server without a certificate gets a configuration")
	}
}

// TestRunTakesInWhatChanges, and keeps what was there when the change makes no sense, saying so once.
func TestRunTakesInWhatChanges(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t, "ca")
		cert, key := ca.issue(dir, "server", nil)
		out := new(notes)
		store := open(t, certs.Options{Cert: cert, Key: key})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			store.Run(ctx, slog.New(slog.NewTextHandler(out, nil)))
		}()
		step := func() string {
			time.Sleep(30 * time.Second)
			synctest.Wait()
			return out.take()
		}
		first := store.NotAfter()
		if said := step(); said != "" {
			t.Errorf("nothing has changed, yet it says %s", said)
		}

		ca.issue(dir, "server", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) })
		if said := step(); strings.Count(said, "certificates reloaded") != 1 || !store.NotAfter().After(first) {
			t.Errorf("a new certificate: it says %s, and expires on %v", said, store.NotAfter())
		}

		second := store.NotAfter()
		write(t, key, []byte("half a key"))
		if said := step(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, "server.key") || store.NotAfter() != second {
			t.Errorf("a broken key: it says %s, and expires on %v", said, store.NotAfter())
		}
		if err := store.Reload(); err == nil || !strings.Contains(err.Error(), "server.key") {
			t.Errorf("Reload of a broken key says %v", err)
		}

		ca.issue(dir, "server", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(2 * time.Hour) })
		if said := step(); strings.Count(said, "certificates reloaded") != 1 || !store.NotAfter().After(second) {
			t.Errorf("mended: it says %s, and expires on %v", said, store.NotAfter())
		}
		cancel()
		<-ended
	})
}

// notes is what was logged since the last look.
type notes struct {
	mu   sync.Mutex
	text []byte
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, b...)
	return len(b), nil
}

func (n *notes) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := string(n.text)
	n.text = nil
	return text
}

// TestDialerGivesUp on a server that takes the connection and says nothing.
func TestDialerGivesUp(t *testing.T) {
	dir := t.TempDir()
	ca := write(t, filepath.Join(dir, "ca.pem"), newAuthority(t, "ca").pem())
	store := open(t, certs.Options{CA: ca})
	synctest.Test(t, func(t *testing.T) {
		silent, ours := net.Pipe()
		defer func() { _ = silent.Close() }()
		go func() { _, _ = io.Copy(io.Discard, silent) }()
		_, err := store.Dialer(func(context.Context, string) (net.Conn, error) { return ours, nil })(t.Context(), "127.0.0.1:7400")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "TLS with 127.0.0.1:7400") {
			t.Errorf("dialing a silent server ends with %v", err)
		}
	})
}

func TestObserveTellsTheExpiry(t *testing.T) {
	dir := t.TempDir()
	cert, key := newAuthority(t, "ca").issue(dir, "server", nil)
	store := open(t, certs.Options{Cert: cert, Key: key})
	metrics, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = metrics.Shutdown(t.Context()) }()
	trusting := open(t, certs.Options{CA: cert})
	if err := certs.Observe(metrics.MeterProvider, map[string]*certs.Store{"client": store, "raft": store, "none": nil, "bare": trusting}); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	metrics.Metrics.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for _, port := range []string{"client", "raft"} {
		_, rest, _ := strings.Cut(page.Body.String(), `lockd_tls_cert_expiry_seconds{lockd_port="`+port+`"} `)
		value, _, _ := strings.Cut(rest, "\n")
		if seconds, err := strconv.ParseFloat(value, 64); err != nil || seconds < 3000 || seconds > 3600 {
			t.Errorf("the certificate of port %s expires in %q seconds; it was made for an hour", port, value)
		}
	}
	if n := strings.Count(page.Body.String(), "lockd_tls_cert_expiry_seconds{"); n != 2 {
		t.Errorf("%d ports are shown instead of 2", n)
	}
}
