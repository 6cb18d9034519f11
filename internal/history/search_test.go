package history

import "testing"

// TestSearchKnowsLateReleases: a lease that has run out, and was granted to others since, can be released with success when a first attempt was
// not answered; a lock cannot, as a session's requests take effect once.
func TestSearchKnowsLateReleases(t *testing.T) {
	for _, lease := range []bool{true, false} {
		h := &History{Operations: []Operation{
			{Process: "a", Kind: Acquire, Keys: []string{"x"}, Mode: Exclusive, Lease: lease, Call: 10, Return: 20, Outcome: OK, Token: 1, Until: 100},
			{Process: "b", Kind: Acquire, Keys: []string{"x"}, Mode: Exclusive, Lease: lease, Call: 30, Return: 120, Outcome: OK, Token: 2, Until: 200},
			{Process: "b", Kind: Release, Keys: []string{"x"}, Lease: lease, Call: 130, Return: 140, Outcome: OK, Token: 2},
			{Process: "a", Kind: Release, Keys: []string{"x"}, Lease: lease, Call: 150, Return: 160, Outcome: OK, Token: 1},
		}}
		r := &report{kept: map[string]int{}}
		if err := search(h, Options{}, r); err != nil {
			t.Fatal(err)
		}
		if (r.Count == 0) != lease {
			t.Errorf("lease %t: %d violations: %v", lease, r.Count, r.Violations)
		}
	}
}
