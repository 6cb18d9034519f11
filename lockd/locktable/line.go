package locktable

// place orders the waiters of a queue: the index of the entry that queued them. A priority will go before it.
type place = uint64

// line is an ordered list: things are added at the end with a rising key and removed anywhere. Queues are lines of waiters by place,
// the holders of a lock a line by token. Finding is a binary search; removing leaves a gap, and gaps are closed when they are
// half of the line, so that a removal costs constant time on average and moves nothing for most.
type line[T any] struct {
	items []item[T] // rising key; of items[:head] nothing is left
	head  int       // items[head] is no gap, unless the line is empty
	gaps  int       // among items[head:]
}

type item[T any] struct {
	key   uint64
	thing *T // nil = a gap
}

const lineGapsMin = 32

func (l *line[T]) len() int { return len(l.items) - l.head - l.gaps }

// push adds a thing at the end; key is above all that were pushed before.
func (l *line[T]) push(key uint64, thing *T) {
	l.items = append(l.items, item[T]{key, thing})
}

// search returns the position of the first item whose key is at least key.
func (l *line[T]) search(key uint64) int {
	lo, hi := l.head, len(l.items)
	if lo < hi && l.items[lo].key >= key {
		return lo
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if l.items[mid].key < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// get returns the thing with this key, or nil.
func (l *line[T]) get(key uint64) *T {
	if i := l.search(key); i < len(l.items) && l.items[i].key == key {
		return l.items[i].thing
	}
	return nil
}

// remove takes the thing with this key out, if it is there.
func (l *line[T]) remove(key uint64) {
	i := l.search(key)
	if i == len(l.items) || l.items[i].key != key || l.items[i].thing == nil {
		return
	}
	l.items[i].thing = nil
	l.gaps++
	for l.head < len(l.items) && l.items[l.head].thing == nil {
		l.head++
		l.gaps--
	}
	if l.gaps+l.head > lineGapsMin && l.gaps+l.head > l.len() {
		l.close()
	}
}

func (l *line[T]) close() {
	n := 0
	for _, it := range l.items[l.head:] {
		if it.thing != nil {
			l.items[n] = it
			n++
		}
	}
	clear(l.items[n:])
	l.items, l.head, l.gaps = l.items[:n], 0, 0
	if cap(l.items) > 4*lineGapsMin && cap(l.items) > 4*n {
		l.items = append([]item[T](nil), l.items...)
	}
}

// first returns the thing with the lowest key, or nil.
func (l *line[T]) first() *T {
	if l.head == len(l.items) {
		return nil
	}
	return l.items[l.head].thing
}

// last returns the thing with the highest key, or nil.
func (l *line[T]) last() *T {
	for i := len(l.items) - 1; i >= l.head; i-- {
		if t := l.items[i].thing; t != nil {
			return t
		}
	}
	return nil
}

// after returns the first thing whose key is above key, or nil. With first it iterates over a line that changes on the way.
func (l *line[T]) after(key uint64) *T {
	for i := l.search(key + 1); i < len(l.items); i++ {
		if t := l.items[i].thing; t != nil {
			return t
		}
	}
	return nil
}

// all iterates over a line that does not change on the way.
func (l *line[T]) all(yield func(*T) bool) {
	for _, it := range l.items[l.head:] {
		if it.thing != nil && !yield(it.thing) {
			return
		}
	}
}

// previous returns the last thing whose key is below key, or nil.
func (l *line[T]) previous(key uint64) *T {
	for i := l.search(key) - 1; i >= l.head; i-- {
		if t := l.items[i].thing; t != nil {
			return t
		}
	}
	return nil
}
