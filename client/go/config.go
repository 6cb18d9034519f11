package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Config says how a Client reaches its cluster, and what it is to it. Only Endpoints is needed.
type Config struct {
	// Endpoints are host:port of the client ports of some nodes. The others are learned from them.
	Endpoints []string

	// TTL of the default session: how long the cluster waits for a client that is silent before it gives its locks to
	// others, from 1 s to 10 min. Default 15 s.
	TTL time.Duration

	// Grace, when not 0, gives the locks of the default session to others this long after its connection broke, from
	// 1 s to the TTL. It makes a dead client's locks free sooner, and is paid for with shorter validity.
	Grace time.Duration

	// Identity tells people who holds a lock. Default host:pid.
	Identity string

	// TLS, when not nil, is spoken with the nodes. An empty ServerName is taken from each endpoint.
	TLS *tls.Config

	// Credential proves the identity to the cluster.
	Credential []byte

	// Dial opens a connection. Default: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// RequestTimeout bounds one attempt of a request outside a session: a read, or a renewal of a lease. It is then
	// repeated over another node, until the ctx of the call ends. Default 5 s.
	RequestTimeout time.Duration

	// Logger hears of lost connections and sessions. Default: none.
	Logger *slog.Logger

	// TracerProvider and MeterProvider; default: the global ones of OpenTelemetry.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Suspended returns how much time, since any fixed moment, passed while the monotonic clock stood still because
	// the machine slept. Default: the platform's (Linux: CLOCK_BOOTTIME against CLOCK_MONOTONIC; elsewhere none, and a suspend
	// is noticed when the cluster's time arrives).
	Suspended func() time.Duration
}

// Bounds and defaults of a Config.
const (
	DefaultTTL            = 15 * time.Second
	DefaultRequestTimeout = 5 * time.Second

	credentialMax = 8192
)

// Validate names each field that is out of its bounds.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Endpoints) == 0 {
		errs = append(errs, errors.New("client: Config.Endpoints is empty: name the client port (7400) of at least one node"))
	}
	for i, e := range c.Endpoints {
		if _, _, err := net.SplitHostPort(e); err != nil {
			errs = append(errs, fmt.Errorf("client: Config.Endpoints[%d] %q is not host:port: %w", i, e, err))
		}
	}
	if c.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("client: Config.RequestTimeout %v is negative", c.RequestTimeout))
	}
	if len(c.Credential) > credentialMax {
		errs = append(errs, fmt.Errorf("client: Config.Credential has %d bytes, more than %d", len(c.Credential), credentialMax))
	}
	s := SessionConfig{TTL: c.TTL, Grace: c.Grace, Identity: c.Identity}
	return errors.Join(append(errs, s.validate("Config"))...)
}
