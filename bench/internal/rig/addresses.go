package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddresses finds n ports on loopback that nobody listens on, below those that the kernel gives to outgoing connections: a node
// that is started again must find its own port free.
func FreeAddresses(ctx context.Context, n int) ([]string, error) {
	const low, high, tries = 20000, 32000, 1000
	var found []string
	var config net.ListenConfig
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low))
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // held until all are found, so that none is found twice
		if found = append(found, address); len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("found %d free ports of %d between %d and %d", len(found), n, low, high)
}
