package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience is the time-out of every try: until it the lock must be granted, and from then on until it again released.
const patience = 3 * time.Second

// book keeps account of what tries for locks ended in. It is safe for concurrent use.
type book struct {
	mu     sync.Mutex // guards the fields below
	tries  int
	lost   map[string]int      // tries that ended in an error other than that of their time-out, by the error
	late   int                 // tries that their time-out ended
	twice  []string            // signs that something took effect twice
	tokens map[string]uint64   // the last one of each name
	holder map[string]int      // of each name, the try that has been granted it and has not begun to release it
	murky  map[string]struct{} // names of which a try has ended in an error: nobody knows whether they are held
}

func newBook() *book {
	return &book{lost: map[string]int{}, tokens: map[string]uint64{}, holder: map[string]int{}, murky: map[string]struct{}{}}
}

// attempt is one try for a lock.
type attempt struct {
	b      *book
	number int
	name   string
	token  uint64
}

// begin counts a try.
func (b *book) begin(name string) *attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	return &attempt{b: b, number: b.tries, name: name}
}

// granted notes that the try was granted. Its token must be above that of every grant of the name before, and nobody else may hold it.
func (a *attempt) granted(token uint64) {
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.tokens[a.name]; token <= last {
		b.twice = append(b.twice, fmt.Sprintf("%s was granted with token %d after %d", a.name, token, last))
	}
	if other, held := b.holder[a.name]; held {
		b.twice = append(b.twice, fmt.Sprintf("%s was granted to try %d while try %d held it", a.name, a.number, other))
	}
	a.token = token
	b.tokens[a.name] = max(token, b.tokens[a.name])
	b.holder[a.name] = a.number
}

// releases notes that the lock is about to be released: from now on another one may have it.
func (a *attempt) releases() {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if a.b.holder[a.name] == a.number {
		delete(a.b.holder, a.name)
	}
}

// failed notes that the try, or its release, ended in an error. A refusal of a name that its session alone asks for is a sign that
// an earlier try took effect once more.
func (a *attempt) failed(err error) {
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holder[a.name] == a.number {
		delete(b.holder, a.name)
	}
	if errors.Is(err, errHeld) {
		if _, murky := b.murky[a.name]; !murky {
			b.twice = append(b.twice, a.name+" was held though its last holder has released it")
		}
		return
	}
	b.murky[a.name] = struct{}{}
	if errors.Is(err, errLate) {
		b.late++
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	b.lost[text]++
}

// left takes the names that are still held though everybody has released what they got.
func (b *book) left(names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		if _, murky := b.murky[name]; !murky {
			b.twice = append(b.twice, name+" was left behind")
		}
	}
}

// counts returns the sums, and how many tries were lost.
func (b *book) counts() (tries, lost, late, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.lost {
		lost += n
	}
	return b.tries, lost, b.late, len(b.twice)
}

// reasons tells what went wrong, most frequent first.
func (b *book) reasons() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for why := range b.lost {
		list = append(list, why)
	}
	slices.SortFunc(list, func(x, y string) int {
		if d := b.lost[y] - b.lost[x]; d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	for i, why := range list {
		list[i] = fmt.Sprintf("%d × %s", b.lost[why], why)
	}
	return append(list, b.twice...)
}

var errLate = errors.New("no answer in time")

// turn makes a try, and releases what it got when until is closed; nil: at once. It returns when the grant came, the zero time if it did
// not.
func (b *book) turn(ctx context.Context, take func(context.Context, string) (grant, error), name string, until <-chan struct{}) time.Time {
	a := b.begin(name)
	asking, cancel := context.WithTimeoutCause(ctx, patience, errLate)
	defer cancel()
	g, err := take(asking, name)
	at := time.Now()
	if err != nil {
		a.failed(late(asking, err))
		return time.Time{}
	}
	a.granted(g.token)
	if until != nil {
		<-until
	}
	a.releases()
	releasing, done := context.WithTimeoutCause(ctx, patience, errLate)
	defer done()
	if err := g.unlock(releasing); err != nil {
		a.failed(late(releasing, err))
	}
	return at
}

// late names the time-out if it is what ended ctx: libraries tell it in words of their own.
func late(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errLate) {
		return errLate
	}
	return err
}
