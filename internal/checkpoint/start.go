package checkpoint

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/lockd/lockd/raft"
)

const (
	currentName = "CURRENT"
	asidePrefix = "damaged-"
	storePrefix = "sm-"
	birthPrefix = "sm-0-"
	unfinished  = ".tmp"
)

var storeName = regexp.MustCompile(`^sm-[0-9]+-[0-9a-f]{16}$`)

// newName names a directory that has never been.
func newName(index raft.Index) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%s%d-%s", storePrefix, index, hex.EncodeToString(b[:]))
}

// beganWith returns the entry of the state that a directory was made for.
func beganWith(name string) raft.Index {
	number, _, _ := strings.Cut(strings.TrimPrefix(name, storePrefix), "-")
	index, _ := strconv.ParseUint(number, 10, 64) // storeName has matched
	return raft.Index(index)
}

// find opens what CURRENT names and removes what it does not name.
func (d *Disk) find() error {
	name, err := d.current()
	if err != nil {
		return err
	}
	stores, err := filepath.Glob(d.files.path(storePrefix + "*"))
	if err != nil {
		return err
	}
	if name == "" {
		return d.findNoName(stores)
	}
	unnamed, err := filepath.Glob(d.files.path("*" + unfinished))
	if err != nil {
		return err
	}
	for _, path := range append(unnamed, stores...) {
		if base := filepath.Base(path); base != name {
			if err := d.files.remove(base); err != nil {
				return err
			}
		}
	}
	_, err = os.Stat(d.files.path(name))
	if errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(name, birthPrefix) {
		if err := os.Mkdir(d.files.path(asidePrefix+name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return d.goOn(name, fmt.Errorf("%s names %s, which is not there", currentName, name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = d.openNamed(name); err == nil || environment(err) || errors.Is(err, ErrVersion) {
		return err
	}
	return d.replaceDamaged(name, err)
}

// current returns what CURRENT says, or nothing if it says nothing.
func (d *Disk) current() (string, error) {
	b, err := os.ReadFile(d.files.path(currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	name := strings.TrimSuffix(string(b), "\n")
	if err != nil || !storeName.MatchString(name) {
		return "", err
	}
	return name, nil
}

// findNoName makes the first store, or puts aside those that CURRENT should name: it was written before any of them.
func (d *Disk) findNoName(stores []string) error {
	if len(stores) == 0 {
		return d.fresh()
	}
	for _, path := range stores[1:] {
		if err := d.putAside(filepath.Base(path)); err != nil {
			return err
		}
	}
	return d.replaceDamaged(filepath.Base(stores[0]), fmt.Errorf("there is no %s to name it", currentName))
}

// fresh makes an empty store the current one.
func (d *Disk) fresh() error {
	name := newName(0)
	if err := d.point(name); err != nil {
		return err
	}
	return d.openNamed(name)
}

// point makes CURRENT name a directory.
func (d *Disk) point(name string) error {
	return d.files.replace(currentName, func(w *os.File) error {
		_, err := w.WriteString(name + "\n")
		return err
	}, nil)
}

func (d *Disk) openNamed(name string) error {
	if err := d.free(min(openBytes, d.opt.Reserve)); err != nil {
		return err
	}
	db, err := openBadger(badgerOptions(d.files.path(name), d.opt.Logger))
	if err != nil {
		return err
	}
	txn := db.NewTransaction(false)
	head, err := readHead(txn)
	txn.Discard()
	if began := beganWith(name); err == nil && head.Index < began {
		err = fmt.Errorf("%s holds entry %d, though it began with entry %d", name, head.Index, began)
	}
	if err != nil {
		return errors.Join(err, within(d.opt.Deadline, "close", db.Close))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used, d.head = &generation{db: db, name: name}, head
	return nil
}

func (d *Disk) putAside(name string) error { return d.files.rename(name, asidePrefix+name) }

// replaceDamaged puts a closed store aside and goes on with an empty one.
func (d *Disk) replaceDamaged(name string, why error) error {
	if err := d.putAside(name); err != nil {
		return errors.Join(why, err)
	}
	return d.goOn(name, why)
}

// goOn makes an empty store the current one, for Load to tell of the one that was put aside.
func (d *Disk) goOn(name string, why error) error {
	d.damage = &DamagedError{Aside: d.files.path(asidePrefix + name), Err: why}
	return d.fresh()
}

// asides returns what was put aside and not yet replaced.
func (d *Disk) asides() []string {
	found, _ := filepath.Glob(d.files.path(asidePrefix + "*")) // the pattern is good
	return found
}

// removeAsides follows when another state is durable.
func (d *Disk) removeAsides() error {
	var errs []error
	for _, path := range d.asides() {
		errs = append(errs, d.files.remove(filepath.Base(path)))
	}
	return errors.Join(errs...)
}
