package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	client "github.com/lockd/lockd/client/go"
)

const defaultPort = "7400"

// connect returns a client as the global flags describe it. It does not touch the network. The functions change its configuration.
func (c *call) connect(with ...func(*client.Config)) (*client.Client, error) {
	config := client.Config{Endpoints: c.endpoints()}
	var err error
	if config.TLS, err = c.tls(); err != nil {
		return nil, err
	}
	if file := c.flags.String("credential-file"); file != "" {
		if config.Credential, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("credential: %w", err)
		}
		config.Credential = bytes.TrimSpace(config.Credential)
	}
	if c.verbose {
		config.Logger = slog.New(slog.NewTextHandler(c.err, nil))
	}
	for _, w := range with {
		w(&config)
	}
	return client.New(config)
}

// endpoints returns the endpoints with their ports.
func (c *call) endpoints() []string {
	endpoints := c.flags.StringSlice("endpoints")
	for i, e := range endpoints {
		endpoints[i] = withPort(e, defaultPort)
	}
	return endpoints
}

// withPort adds a port to an address that has none.
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	if ip := net.ParseIP(address); ip != nil {
		return net.JoinHostPort(address, port)
	}
	return address + ":" + port
}

// tls returns the configuration of TLS, nil if no flag asks for it.
func (c *call) tls() (*tls.Config, error) {
	ca, cert, key := c.flags.String("cacert"), c.flags.String("cert"), c.flags.String("key")
	if !c.flags.Bool("tls") && ca == "" && cert == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: c.flags.String("server-name")}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cacert: %s holds no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, c.usage("--cert and --key go together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// timeout is how long the cluster may take to answer.
func (c *call) timeout() time.Duration { return c.flags.Duration("timeout") }

// ask runs f with a client and the time limit of one question to the cluster.
func (c *call) ask(ctx context.Context, f func(context.Context, *client.Client) error) error {
	cl, err := c.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	return errors.Join(f(ctx, cl), c.disconnect(ctx, cl))
}

// disconnect closes a client, also when ctx has ended. What it could not give back is free when its session expires.
func (c *call) disconnect(ctx context.Context, cl *client.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if c.unheard {
		cancel()
	}
	err := cl.Close(ctx)
	if ctx.Err() != nil || errors.Is(err, client.ErrUnavailable) {
		c.detail("the cluster did not confirm the end of the session; it will expire")
		return nil
	}
	return err
}
