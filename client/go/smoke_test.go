package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := testcluster.StartBubble(t, 3)
		c, err := client.New(client.Config{Endpoints: cl.Endpoints(), Dial: cl.Net.Host("app").Dial})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		l, err := c.Lock(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		t.Log(l.Token(), time.Until(l.ValidUntil()))
		if _, err := c.TryLock(ctx, "a"); err == nil {
			t.Fatal("twice")
		} else {
			t.Log(err)
		}
		info, err := c.Get(ctx, "a")
		t.Log(info, err)
		if err := l.Unlock(ctx); err != nil {
			t.Fatal(err)
		}
		t.Log(c.Get(ctx, "a"))
		t.Log(c.Nodes(ctx))
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
	})
}
