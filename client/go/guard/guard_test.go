package guard_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lockd/lockd/client/go/guard"
)

func TestGate(t *testing.T) {
	var g guard.Gate
	for i, step := range []struct {
		resource     string
		floor, token uint64
		stale        bool
	}{
		{"a", 10, 10, false},
		{"a", 10, 10, false}, // the same holder again
		{"a", 10, 12, false}, // a reader above the floor
		{"a", 10, 11, false}, // another reader, older: both hold it
		{"a", 20, 20, false}, // a writer
		{"a", 10, 12, true},  // the reader was overtaken
		{"a", 10, 10, true},
		{"b", 5, 5, false}, // another resource
		{"a", 20, 25, false},
		{"a", 19, 19, true},
	} {
		if err := g.Admit(step.resource, step.floor, step.token); errors.Is(err, guard.ErrStale) != step.stale || (err != nil) != step.stale {
			t.Errorf("step %d: %s, floor %d, token %d: %v", i, step.resource, step.floor, step.token, err)
		}
	}
	g.Forget("a")
	if err := g.Admit("a", 1, 1); err != nil {
		t.Errorf("after Forget: %v", err)
	}
}

// TestAdmitRaisesNothingForTheStale refuses a token without taking its floor.
func TestAdmitRaisesNothingForTheStale(t *testing.T) {
	var g guard.Gate
	if err := g.Admit("a", 10, 10); err != nil {
		t.Fatal(err)
	}
	if err := g.Admit("a", 1000, 9); !errors.Is(err, guard.ErrStale) {
		t.Fatalf("stale: %v", err)
	}
	if err := g.Admit("a", 11, 11); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
}

func TestMiddleware(t *testing.T) {
	var g guard.Gate
	served := 0
	h := g.Middleware(func(r *http.Request) string { return r.URL.Path }, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for i, step := range []struct {
		path, token, floor string
		want               int
	}{
		{"/a", "10", "", http.StatusOK},
		{"/a", "9", "", http.StatusPreconditionFailed},
		{"/a", "12", "10", http.StatusOK},
		{"/a", "11", "10", http.StatusOK},
		{"/a", "", "", http.StatusPreconditionRequired},
		{"/a", "x", "", http.StatusBadRequest},
		{"/a", "13", "x", http.StatusBadRequest},
		{"/a", "13", "14", http.StatusBadRequest},
		{"/b", "1", "", http.StatusOK},
	} {
		before := served
		r := httptest.NewRequest(http.MethodPut, step.path, nil)
		if step.token != "" {
			r.Header.Set(guard.TokenHeader, step.token)
		}
		if step.floor != "" {
			r.Header.Set(guard.FloorHeader, step.floor)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != step.want || (served > before) != (step.want == http.StatusOK) {
			t.Errorf("step %d: %+v: status %d, body %q, served %t", i, step, w.Code, w.Body, served > before)
		}
	}
}

func TestSetHeader(t *testing.T) {
	h := http.Header{}
	guard.SetHeader(h, 3, 4)
	if h.Get("Lockd-Token") != "4" || h.Get("Lockd-Floor") != "3" {
		t.Errorf("header: %v", h)
	}
}

func ExampleGate() {
	var g guard.Gate
	fmt.Println(g.Admit("report", 41, 41)) // a holder, which is then paused
	fmt.Println(g.Admit("report", 42, 42)) // the next one
	fmt.Println(g.Admit("report", 41, 41)) // the first wakes up
	// Output:
	// <nil>
	// <nil>
	// guard: stale token: 41, but "report" has been held exclusively with 42 since
}
