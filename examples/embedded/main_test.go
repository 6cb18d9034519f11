package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lockd/lockd/lockd"
)

func TestEmbedded(t *testing.T) {
	var out bytes.Buffer
	config := lockd.Config{Memory: true, ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenHTTP: lockd.Off}
	if err := run(t.Context(), config, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "holding one with token ") {
		t.Errorf("got %q", out.String())
	}
}
