// Package rig is what the benchmarks have in common: what machine they run on, how busy it is, how servers are built and
// started, and how rounds of several systems are compared.
package rig
