package acceptance

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
)

func TestZZ(t *testing.T) {
	const ttl = 6 * time.Second
	cluster := testcluster.StartProcesses(t, 3)
	old := leader(t, open(t, cluster.Endpoints(), ttl), cluster)
	var others []string
	for i, address := range cluster.Endpoints() {
		if i != old {
			others = append(others, address)
		}
	}
	c := open(t, others, ttl)
	held := holdMany(t, c, 40, ttl)
	cluster.Signal(old, syscall.SIGSTOP)
	began := time.Now()
	fmt.Println("stopped", began.UTC().Format("15:04:05.000"), "node", old)
	for i, l := range held {
		context.AfterFunc(l.Context(), func() { fmt.Println(i, "lost after", time.Since(began), l.Err()) })
		v := l.ValidUntil()
		go func() {
			for range 200 {
				time.Sleep(20 * time.Millisecond)
				if n := l.ValidUntil(); n != v && i < 6 {
					fmt.Println(i, "at", time.Since(began), "valid until", n.Sub(began))
					v = n
				}
			}
		}()
	}
	during := lock(t, c, "during")
	fmt.Println("during after", time.Since(began), during.Token())
	time.Sleep(8*time.Second - time.Since(began))
	cluster.Signal(old, syscall.SIGCONT)
	allHeld(t, c, held)
	for i := range 3 {
		fmt.Println(cluster.Log(i))
	}
}
