package locktable

import (
	"slices"
	"sort"
	"strings"
)

// catalogPage is how many locks are on one page of a catalog at most, catalogFresh how many wait to be put on one.
const (
	catalogPage  = 512
	catalogFresh = 512
)

// catalog keeps the locks in the order of their names, on pages, so that a lock comes and goes without moving more than a page, and
// a list can begin anywhere. It costs 8 to 16 bytes a lock, and next to nothing for one that goes soon: a lock waits, without an
// order, among the fresh ones before it is put on a page. It is no part of the state: what decides never looks into it.
type catalog struct {
	pages [][]*lock // none is empty
	fresh []*lock   // those that are gone are among them
}

// add takes in a lock whose name is not there.
func (c *catalog) add(l *lock) {
	if c.fresh = append(c.fresh, l); len(c.fresh) < catalogFresh {
		return
	}
	for i, l := range c.fresh {
		if c.fresh[i] = nil; !l.gone {
			l.paged = true
			c.insert(l)
		}
	}
	c.fresh = c.fresh[:0]
}

// remove drops a lock that is gone.
func (c *catalog) remove(l *lock) {
	if l.paged {
		l.paged = false
		c.takeOut(l)
	}
}

// find returns where a name is, or would be.
func (c *catalog) find(name string) (page, at int, found bool) {
	page = max(0, sort.Search(len(c.pages), func(i int) bool { return c.pages[i][0].name > name })-1)
	if len(c.pages) == 0 {
		return 0, 0, false
	}
	at, found = slices.BinarySearchFunc(c.pages[page], name, func(l *lock, name string) int { return strings.Compare(l.name, name) })
	return page, at, found
}

// insert puts a lock on a page.
func (c *catalog) insert(l *lock) {
	page, at, _ := c.find(l.name)
	switch {
	case len(c.pages) == 0:
		c.pages = [][]*lock{{l}}
		return
	case len(c.pages[page]) == catalogPage && page == len(c.pages)-1 && at == catalogPage: // names that rise fill their pages
		c.pages = append(c.pages, append(make([]*lock, 0, catalogPage), l))
		return
	case len(c.pages[page]) == catalogPage:
		const half = catalogPage / 2
		full := c.pages[page]
		c.pages = slices.Insert(c.pages, page+1, append(make([]*lock, 0, catalogPage), full[half:]...))
		clear(full[half:])
		c.pages[page] = full[:half]
		if at > half {
			page, at = page+1, at-half
		}
	}
	c.pages[page] = slices.Insert(c.pages[page], at, l)
}

// takeOut takes a lock off its page.
func (c *catalog) takeOut(l *lock) {
	page, at, found := c.find(l.name)
	if !found {
		return
	}
	rest := slices.Delete(c.pages[page], at, at+1)
	c.pages[page] = rest
	if len(rest) > catalogPage/4 {
		return
	}
	next := page + 1
	switch {
	case len(rest) == 0:
		c.pages = slices.Delete(c.pages, page, next)
	case next < len(c.pages) && len(rest)+len(c.pages[next]) <= catalogPage/2:
		c.pages[page] = append(rest, c.pages[next]...)
		c.pages = slices.Delete(c.pages, next, next+1)
	}
}

// fill takes in all locks of a table, in the order of their names, in the place of what was there.
func (c *catalog) fill(all []*lock) {
	*c = catalog{}
	for page := range slices.Chunk(all, catalogPage) {
		c.pages = append(c.pages, slices.Clone(page))
	}
	for _, l := range all {
		l.paged = true
	}
}

func byName(a, b *lock) int { return strings.Compare(a.name, b.name) }

// from iterates over the locks from a name on.
func (c *catalog) from(name string) func(yield func(*lock) bool) {
	return func(yield func(*lock) bool) {
		fresh := slices.DeleteFunc(slices.Clone(c.fresh), func(l *lock) bool { return l.gone || l.name < name })
		slices.SortFunc(fresh, byName)
		page, at, _ := c.find(name)
		for ; page < len(c.pages); page, at = page+1, 0 {
			for _, l := range c.pages[page][at:] {
				for len(fresh) > 0 && fresh[0].name < l.name {
					if !yield(fresh[0]) {
						return
					}
					fresh = fresh[1:]
				}
				if !yield(l) {
					return
				}
			}
		}
		for _, l := range fresh {
			if !yield(l) {
				return
			}
		}
	}
}
