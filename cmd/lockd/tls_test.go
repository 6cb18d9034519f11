//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certify makes a certificate that signs itself, for 127.0.0.1 and the names, and returns the files of it and its key.
func certify(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &own.PublicKey, own)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestTLS: a node that wants certificates, and who gets in with which flags.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certify(t)
	strange, strangeKey := certify(t)
	p, log := serving(t, "--dev", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert)
	p.start()
	endpoint, ok := logged(t, log, "serving")["client"].(string)
	if !ok {
		t.Fatal("no address")
	}
	for _, test := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"--cacert", cert, "--cert", cert, "--key", key}, 0, ""},
		{[]string{"--cacert", cert}, exitUnavailable, "certificate required"},
		{[]string{"--cacert", cert, "--cert", strange, "--key", strangeKey}, exitUnavailable, "tls: "},
		{[]string{"--cacert", strange, "--cert", cert, "--key", key}, exitUnavailable, "signed by unknown authority"},
		{[]string{"--cacert", cert, "--cert", cert, "--key", key, "--server-name", "elsewhere"}, exitUnavailable, "elsewhere"},
		{[]string{"--cert", cert}, exitUsage, "--cert and --key go together"},
		{[]string{"--cacert", key}, exitFailure, "holds no certificate"},
		{[]string{"--cacert", "no.pem"}, exitFailure, "no.pem"},
		{nil, exitUnavailable, "lockd serve --dev"},
	} {
		args := append(test.flags, "lock", "a", "--timeout", "2s", "--", "true")
		if _, errs, code := runProcess(t, endpoint, args...); code != test.code || !strings.Contains(errs, test.says) {
			t.Errorf("%v: code %d, want %d; %s", test.flags, code, test.code, errs)
		}
	}
}
