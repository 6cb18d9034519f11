package certs

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Observe adds a gauge lockd.tls.cert.expiry to the meters of provider: the seconds until the own certificate expires, with the port
// it is used on as an attribute. It goes on until the provider is shut down.
func (s *Store) Observe(provider metric.MeterProvider, port string) error {
	at := metric.WithAttributeSet(attribute.NewSet(attribute.String("lockd.port", port)))
	_, err := provider.Meter("github.com/lockd/lockd/internal/certs").Float64ObservableGauge("lockd.tls.cert.expiry",
		metric.WithUnit("s"), metric.WithDescription("Time until the certificate of a port expires; negative if it has."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			if end := s.NotAfter(); !end.IsZero() {
				o.Observe(time.Until(end).Seconds(), at)
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("gauge of certificates: %w", err)
	}
	return nil
}
