//go:build unix

package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestServiceManagerIsTold(t *testing.T) {
	for _, socket := range []string{filepath.Join(t.TempDir(), "notify"), "@lockd-test-" + filepath.Base(t.TempDir()) + t.Name()} {
		address := &net.UnixAddr{Name: socket, Net: "unixgram"} // package net knows @ too
		conn, err := net.ListenUnixgram("unixgram", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", socket)
		if err := notifySystemd(t.Context(), "READY=1"); err != nil {
			t.Errorf("%s: %v", socket, err)
		}
		got := make([]byte, 100)
		n, err := conn.Read(got)
		if err != nil || string(got[:n]) != "READY=1" {
			t.Errorf("%s: %q, %v", socket, got[:n], err)
		}
		_ = conn.Close()
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd(t.Context(), "READY=1"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
}
