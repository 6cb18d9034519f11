package locktable

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCatalogIsASortedList compares a catalog with a sorted slice, through additions and removals in several orders.
func TestCatalogIsASortedList(t *testing.T) {
	const names = 6000
	orders := map[string]func(rng *rand.Rand) []int{
		"rising": func(*rand.Rand) (list []int) {
			for i := range names {
				list = append(list, i)
			}
			return list
		},
		"falling": func(*rand.Rand) (list []int) {
			for i := range names {
				list = append(list, names-1-i)
			}
			return list
		},
		"random": func(rng *rand.Rand) []int { return rng.Perm(names) },
	}
	for name, order := range orders {
		rng := rand.New(rand.NewPCG(1, 2))
		var c catalog
		var want []string
		locks := map[int]*lock{}
		for _, i := range order(rng) {
			locks[i] = &lock{name: fmt.Sprintf("%05d", i)}
			c.add(locks[i])
			want = append(want, locks[i].name)
		}
		slices.Sort(want)
		checkCatalog(t, name, &c, want)
		if full := float64(names) / float64(len(c.pages)*catalogPage); name == "rising" && full < 0.9 || full < 0.4 {
			t.Errorf("%s: pages are %.2f full", name, full)
		}
		for n, i := range order(rng) {
			locks[i].gone = true
			c.remove(locks[i])
			c.remove(locks[i]) // is not there any more
			at, _ := slices.BinarySearch(want, locks[i].name)
			want = slices.Delete(want, at, at+1)
			if n%500 == 0 || len(want) < 3 {
				checkCatalog(t, name, &c, want)
			}
		}
		if len(c.pages) != 0 {
			t.Errorf("%s: %d pages are left", name, len(c.pages))
		}
	}
}

func checkCatalog(t *testing.T, what string, c *catalog, want []string) {
	t.Helper()
	for _, from := range []string{"", "02999x", "99999"} {
		var got []string
		for l := range c.from(from) {
			got = append(got, l.name)
		}
		at, _ := slices.BinarySearch(want, from)
		if !slices.Equal(got, want[at:]) {
			t.Fatalf("%s: from %q: %d names, want %d", what, from, len(got), len(want)-at)
		}
	}
	var again catalog
	var all []*lock
	for l := range c.from("") {
		all = append(all, l)
	}
	twins := make([]*lock, len(all))
	for i, l := range all {
		twins[i] = &lock{name: l.name}
	}
	again.fill(twins)
	n := 0
	for l := range again.from("") {
		if l.name != want[n] {
			t.Fatalf("%s: filled anew: %q in place %d", what, l.name, n)
		}
		n++
	}
	if n != len(want) {
		t.Fatalf("%s: filled anew with %d of %d", what, n, len(want))
	}
}
