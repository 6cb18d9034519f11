package main

import (
	"context"
	"net"
	"os"
	"strings"
)

// notifySystemd tells the service manager, if one started this program and wants to know, that it is READY=1 or STOPPING=1
// (sd_notify(3)).
func notifySystemd(ctx context.Context, state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:] // the abstract name space of Linux
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", socket)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	if closed := conn.Close(); err == nil {
		err = closed
	}
	return err
}
