package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of the page for Prometheus.
const (
	readersMax = 4                // pages being made at one time
	pageMax    = 10 * time.Second // to make one
)

// newRegistry returns what the page shows before the program has recorded anything: the Go runtime and the process.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func page(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true, // for the exemplars
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: readersMax,
		Timeout:             pageMax,
	})
}
