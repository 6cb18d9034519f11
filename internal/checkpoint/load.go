package checkpoint

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
)

// readAll gives a state to add and checks that it is what its head says. That tells damage from records which are as they
// were written but which add does not know.
func readAll(from source, head Head, add func(Record) error) error {
	defer from.close()
	var t tally
	var refused error
	for {
		r, ok, err := from.next()
		if err != nil {
			return &DamagedError{Err: err}
		}
		if !ok {
			break
		}
		t.add(r)
		if refused == nil {
			refused = add(r)
		}
	}
	if err := t.agree(head); err != nil {
		return &DamagedError{Err: err}
	}
	return refused
}

// loadBadger is readAll of a store. Badger meets some kinds of damage with a panic.
func loadBadger(db *badger.DB, head Head, add func(Record) error) (err error) {
	inAdd := false
	defer func() {
		if inAdd {
			return // not badger's
		}
		if p := recover(); p != nil {
			err = &DamagedError{Err: fmt.Errorf("read: panic: %v", p)}
		}
	}()
	return readAll(newScan(db.NewTransaction(false), func() {}), head, func(r Record) error {
		inAdd = true
		err := add(r)
		inAdd = false
		return err
	})
}

// Load implements State.
func (d *Disk) Load(add func(Record) error) error {
	if err := d.beginTurn(); err != nil {
		return err
	}
	defer d.endTurn()
	d.mu.Lock()
	g, head, loaded := d.used, d.head, d.loaded
	d.mu.Unlock()
	if loaded {
		return fmt.Errorf("%w: Load after Load", ErrOrder)
	}
	damage := d.damage
	if damage == nil {
		err := loadBadger(g.db, head, add)
		if !errors.As(err, &damage) && err != nil {
			return err
		}
		if damage != nil {
			if err := d.giveUp(g, damage.Err); err != nil {
				return d.fail(err)
			}
			damage = d.damage
		}
	}
	if damage == nil {
		damage = d.replaced(head)
	}
	d.mu.Lock()
	d.loaded = true
	d.mu.Unlock()
	if damage != nil {
		return damage
	}
	return nil
}

// giveUp puts the store that is in use aside.
func (d *Disk) giveUp(g *generation, why error) error {
	if err := within(d.opt.Deadline, "close", g.db.Close); err != nil {
		// It is on its way out; what cannot be closed can be renamed all the same.
		d.opt.Logger.Warn("checkpoint: close what is damaged", slog.Any("error", err))
	}
	return d.replaceDamaged(g.name, why)
}

// replaced removes what an earlier start has put aside if this state stands in its place, or tells that none does.
func (d *Disk) replaced(head Head) *DamagedError {
	asides := d.asides()
	switch {
	case len(asides) == 0:
	case head.Index == 0:
		return &DamagedError{Aside: asides[0], Err: errors.New("found at an earlier start")}
	default:
		if err := d.removeAsides(); err != nil {
			d.opt.Logger.Warn("checkpoint: remove what was damaged", slog.Any("error", err))
		}
	}
	return nil
}
