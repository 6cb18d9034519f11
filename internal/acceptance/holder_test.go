package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/client/go/guard"
	"github.com/lockd/lockd/internal/testcluster"
)

// holderEnv makes the test binary a holder of a lock: the endpoints, and the URL of the store it writes to.
const holderEnv = "LOCKD_TEST_HOLDER"

func main(m *testing.M) {
	if text, ok := os.LookupEnv(holderEnv); ok {
		if err := hold(text); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testcluster.Main(m)
}

// hold takes the lock, says so, and at each line from stdin tells what its context says and then writes to the store all the same.
func hold(text string) error {
	endpoints, store, _ := strings.Cut(text, " ")
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: strings.Split(endpoints, ","), TTL: 2 * time.Second})
	if err != nil {
		return err
	}
	l, err := c.Lock(ctx, "ledger")
	if err != nil {
		return err
	}
	fmt.Println("held", l.Token())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		lost := l.Context().Err() != nil // the first line of code after whatever pause there was
		code, err := put(ctx, store, l.Token(), "holder")
		fmt.Println("wrote", lost, code, err)
	}
	return nil
}

func put(ctx context.Context, url string, token uint64, text string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	r.Header.Set(guard.TokenHeader, strconv.FormatUint(token, 10))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// TestField01PausedHolder stops a holder's process beyond its TTL. Another one is granted the lock and writes. When the first goes on,
// its context has ended before the next line that looks at it; it writes nevertheless, and the store refuses its token.
func TestField01PausedHolder(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	var gate guard.Gate
	written := make(chan string, 10)
	store := httptest.NewServer(gate.Middleware(func(r *http.Request) string { return r.URL.Path }, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		written <- string(b)
	})))
	defer store.Close()
	url := store.URL + "/ledger"

	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), holderEnv+"="+strings.Join(cluster.Endpoints(), ",")+" "+url)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err == nil {
		err = holder.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(holder.Process.Kill(), holder.Wait()) }()
	lines := bufio.NewScanner(out)
	say := func(want string) string {
		t.Helper()
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("the holder says %q, not %s", lines.Text(), want)
		}
		return lines.Text()
	}
	say("held")
	if _, err := fmt.Fprintln(in, "write"); err != nil {
		t.Fatal(err)
	}
	if got := say("wrote"); got != "wrote false 200 <nil>" || <-written != "holder" {
		t.Fatalf("before the pause: %s", got)
	}

	if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	l := lock(t, c, "ledger")
	if code, err := put(t.Context(), url, l.Token(), "next"); err != nil || code != http.StatusOK || <-written != "next" {
		t.Fatalf("the next holder's write: %d, %v", code, err)
	}
	if _, err := fmt.Fprintln(in, "write"); err != nil { // waits in the pipe
		t.Fatal(err)
	}
	if err := holder.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, want := say("wrote"), fmt.Sprintf("wrote true %d <nil>", http.StatusPreconditionFailed); got != want {
		t.Errorf("after the pause %q, not %q", got, want)
	}
	if len(written) != 0 {
		t.Errorf("the store took %q", <-written)
	}
	unlock(t, l)
}
