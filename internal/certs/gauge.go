package certs

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Observe adds a gauge lockd.tls.cert.expiry to the meters of provider: for each port the seconds until its certificate expires. It goes
// on until the provider is shut down. A nil Store, and one without a certificate, tells nothing.
func Observe(provider metric.MeterProvider, ports map[string]*Store) error {
	sets := make(map[string]metric.ObserveOption, len(ports))
	for port := range ports {
		sets[port] = metric.WithAttributeSet(attribute.NewSet(attribute.String("lockd.port", port)))
	}
	_, err := provider.Meter("github.com/lockd/lockd/internal/certs").Float64ObservableGauge("lockd.tls.cert.expiry",
		metric.WithUnit("s"), metric.WithDescription("Time until the certificate of a port expires; negative if it has."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			for port, s := range ports {
				if s == nil || s.NotAfter().IsZero() {
					continue
				}
				o.Observe(time.Until(s.NotAfter()).Seconds(), sets[port])
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("gauge of certificates: %w", err)
	}
	return nil
}
