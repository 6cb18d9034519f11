//go:build unix

package client_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/wire"
)

// TestMoveToTheLeader connects clients to a follower that does not know the leader. When it tells them, they go there: once, between
// two requests, not all at the same time, and what they hold stays theirs.
func TestMoveToTheLeader(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		nodes := got[[]client.Node](t)(w.client("first").Nodes(t.Context()))
		status := got[client.Status](t)(w.client("first").Status(t.Context(), w.Endpoints()[0]))
		isLeader := func(n client.Node) bool { return n.ID == status.Leader }
		leader, follower := nodes[slices.IndexFunc(nodes, isLeader)], nodes[slices.IndexFunc(nodes, func(n client.Node) bool { return !isLeader(n) })]

		news := &wire.Nodes{Leader: leader.ID}
		for _, n := range nodes {
			news.Nodes = append(news.Nodes, wire.Node{ID: n.ID, Name: n.Name, Address: n.Address, Voter: true})
		}
		const clients = 8
		var mu sync.Mutex // guards dialed and moved
		dialed, moved := map[string][]string{}, []time.Time{}
		var locks []*client.Lock
		var tells []func()
		for i := range clients {
			name := string(rune('a' + i))
			c, p := w.proxied(name, func(c *client.Config) {
				c.Endpoints = []string{follower.Address}
				dial := c.Dial
				c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dialed[name] = append(dialed[name], address)
					if address == leader.Address {
						moved = append(moved, time.Now())
					}
					return dial(ctx, address)
				}
			})
			told := true
			p.set(func() {
				p.down = func(m wire.Message) []wire.Message {
					switch m := m.(type) {
					case *wire.Welcome:
						m.Leader = 0
					case *wire.Nodes:
						return nil
					}
					if !told {
						told = true
						return []wire.Message{news, news, m}
					}
					return []wire.Message{m}
				}
			})
			locks = append(locks, mustLock(t, c, name))
			tells = append(tells, func() {
				p.set(func() { told = false })
				must(t, locks[i].SetValue(t.Context(), []byte("v")))
			})
		}
		time.Sleep(time.Minute)
		for name, addresses := range dialed {
			if !slices.Equal(addresses, []string{follower.Address}) {
				t.Fatalf("%s dialed %v", name, addresses)
			}
		}
		var all sync.WaitGroup
		for _, tell := range tells {
			all.Go(tell)
		}
		all.Wait()
		time.Sleep(time.Minute)
		for name, addresses := range dialed {
			if !slices.Equal(addresses, []string{follower.Address, leader.Address}) {
				t.Errorf("%s dialed %v, not the follower %s and then the leader %s", name, addresses, follower.Address, leader.Address)
			}
		}
		if len(moved) == clients && moved[clients-1].Sub(moved[0]) < 500*time.Millisecond {
			t.Errorf("all moved within %v", moved[clients-1].Sub(moved[0]))
		}
		for _, l := range locks {
			must(t, l.Err())
			must(t, l.Unlock(t.Context()))
		}
	})
}
