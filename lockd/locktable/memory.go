package locktable

// memoriesMax is how many bad endings of locks that exist no more are kept.
const memoriesMax = 1 << 16

// memory keeps how the last hold of a lock ended that exists no more, if it ended badly: the next holder, who may come when nobody is
// waiting, has to know that there may be something to recover. A lock that was released leaves no memory.
type memory struct {
	name   string
	key    uint64 // order of forgetting
	ending Ending
	gone   bool
	row    rowState
}

type memories struct {
	byName map[string]*memory
	order  line[memory] // by key
}

// remember keeps an ending of a name that has none.
func (t *Table) remember(name string, e Ending) {
	if t.memories.order.len() >= memoriesMax {
		t.forget(t.memories.order.first())
	}
	m := &memory{name: name, key: t.ordinal(), ending: e}
	t.memories.byName[name] = m
	t.memories.order.push(m.key, m)
	t.touch(m)
}

// recall returns the ending that is kept of a name, and forgets it.
func (t *Table) recall(name string) Ending {
	if len(t.memories.byName) == 0 {
		return Ending{}
	}
	m := t.memories.byName[name]
	if m == nil {
		return Ending{}
	}
	t.forget(m)
	return m.ending
}

func (t *Table) forget(m *memory) {
	m.gone = true
	delete(t.memories.byName, m.name)
	t.memories.order.remove(m.key)
	t.touch(m)
}
