// Package testcluster runs clusters of lockd nodes inside a test: real servers over loopback, with their data in the test's
// directory. They listen on ports of their own and end with the test.
package testcluster
