// Package otlptest is a receiver of OpenTelemetry's protocol (OTLP) for tests: a real gRPC server and a real HTTP server on loopback
// that decode what exporters send and keep it.
//
// A Receiver is safe for concurrent use, and stops with the test that started it.
package otlptest
