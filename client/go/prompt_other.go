//go:build !unix

package client

import "net"

// promptOf returns how to write to a connection without waiting, nil if there is no way to.
func promptOf(conn net.Conn) prompt {
	p, _ := conn.(prompt)
	return p
}
