//go:build unix

package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/lockd"
)

// TestElectRunsTheCommandOfTheLeader: one at a time, and the next when the first resigns by ending.
func TestElectRunsTheCommandOfTheLeader(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	start := func(value string) (*process, <-chan string) {
		p := command(t, endpoint, "elect", "scheduler", "--value", value, "--", "sh", "-c", opened+`trap 'exit 6' TERM; echo "$LOCKD_TOKEN" >&3; `+forever)
		lines := p.withPipe()
		return p.start(), lines
	}
	first, firstLines := start("host1:80")
	firstTerm := next(t, firstLines)
	second, secondLines := start("host2:80")
	until(t, "the second is a candidate", func() bool { w, _ := waiting(t, c, "scheduler"); return w == 1 })
	out, errs, code := runProcess(t, endpoint, "leader", "scheduler")
	if out != "host1:80\n" || code != 0 {
		t.Errorf("%q, code %d, %s", out, code, errs)
	}
	out, _, _ = runProcess(t, endpoint, "leader", "scheduler", "-o", "json")
	shape(t, out, "host", "identity", "led_ms", "session", "token", "value")

	first.signal(syscall.SIGTERM)
	if code := first.code(); code != 6 {
		t.Errorf("code %d, %s", code, first.err.String())
	}
	if secondTerm := next(t, secondLines); secondTerm <= firstTerm {
		t.Errorf("term %s after term %s", secondTerm, firstTerm)
	}
	second.signal(syscall.SIGTERM)
	if code := second.code(); code != 6 {
		t.Errorf("code %d, %s", code, second.err.String())
	}
	if _, errs, code := runProcess(t, endpoint, "leader", "scheduler"); code != exitFailure || errs != "lockd: nobody leads \"scheduler\"\n" {
		t.Errorf("code %d, %s", code, errs)
	}
}

// TestElectCampaignsAgain after a loss, with another command and a higher term; with --once it ends with the code of a loss.
func TestElectCampaignsAgain(t *testing.T) {
	t.Parallel()
	wire := newCable(t)
	endpoint := server(t, func(_ int, c *lockd.Config) { c.AdvertiseClient = wire.Addr().String() })
	wire.plug(t, endpoint)
	for _, once := range []string{"", "--once"} {
		name, lines := pipe(t)
		args := append([]string{"elect", "a", "--ttl", "2s"}, strings.Fields(once)...)
		p := command(t, wire.Addr().String(), append(args, "--", "sh", "-c", opened+`echo "$LOCKD_TOKEN" >&3; while :; do sleep 0.05; done`)...)
		p.Env = append(p.Env, "PIPE="+name)
		keep, err := os.OpenFile(name, os.O_RDWR, 0) // so that the pipe does not end with the first command
		if err != nil {
			t.Fatal(err)
		}
		p.start()
		first := next(t, lines)
		wire.pull()
		c := holder(t, endpoint)
		until(t, "the term has ended", func() bool {
			_, err := c.Leader(t.Context(), "a")
			return errors.Is(err, client.ErrNoLeader)
		})
		wire.mend()
		if once == "" {
			if second := next(t, lines); second <= first {
				t.Errorf("term %s after term %s", second, first)
			}
			p.signal(syscall.SIGTERM)
			if code := p.code(); code != 128+15 || !strings.Contains(p.err.String(), "campaigning again") {
				t.Errorf("code %d, %s", code, p.err.String())
			}
		} else if code := p.code(); code != exitLost {
			t.Errorf("code %d, %s", code, p.err.String())
		}
		_ = keep.Close()
	}
}
