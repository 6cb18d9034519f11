package membership

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// Key is a secret that all nodes of a cluster share, of 16, 24 or 32 bytes: AES-128, -192 or -256.
type Key []byte

// NewKey draws a key of 32 bytes.
func NewKey() Key {
	k := make(Key, 32)
	_, _ = rand.Read(k) // never fails
	return k
}

// ParseKey reads a key in base64, as String writes it.
func ParseKey(text string) (Key, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("a gossip key is base64: %w", err)
	}
	if err := memberlist.ValidateKey(b); err != nil {
		return nil, fmt.Errorf("a gossip key has 16, 24 or 32 bytes, this one %d", len(b))
	}
	return b, nil
}

// String returns the key in base64. It is a secret.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k) }

// ID returns what names the key and tells nothing of it.
func (k Key) ID() KeyID {
	sum := sha256.Sum256(append([]byte("lockd gossip key "), k...))
	return KeyID(sum[:len(KeyID{})])
}

// KeyID names a key.
type KeyID [8]byte

// ParseKeyID reads what String writes.
func ParseKeyID(text string) (id KeyID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return KeyID{}, fmt.Errorf("%q does not name a key: its name has %d hexadecimal digits", text, 2*len(id))
	}
	return KeyID(b), nil
}

// String returns the name in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Errors of a Keyring.
var (
	// ErrNoKey is wrapped when a key is not in the ring.
	ErrNoKey = errors.New("the key is not in the ring")
	// ErrPrimaryKey is wrapped when the key in use is to be removed.
	ErrPrimaryKey = errors.New("the key is the one in use")
	// ErrRingFull is wrapped when a ring has as many keys as it may.
	ErrRingFull = fmt.Errorf("a ring keeps %d keys: remove one first", maxKeys)
)

// Keyring holds the keys of a node: one to encrypt with, and all that it can decrypt with. It is kept in a file, and safe for
// concurrent use.
type Keyring struct {
	path string // empty: in memory
	ring *memberlist.Keyring
}

// NewKeyring returns a ring in memory, of one key.
func NewKeyring(k Key) (*Keyring, error) { return newKeyring("", k) }

func newKeyring(path string, keys ...Key) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("a ring has at least one key")
	}
	if len(keys) > maxKeys {
		return nil, ErrRingFull
	}
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = bytes.Clone(k)
	}
	ring, err := memberlist.NewKeyring(raw, raw[0])
	if err != nil {
		return nil, err
	}
	return &Keyring{path: path, ring: ring}, nil
}

// OpenKeyring reads the ring of a file, or makes the file with the first key; the zero key makes none, and the error then wraps
// fs.ErrNotExist. A first key that is not in an existing file is an error: keys are changed by rotation, and a node that used another
// key than its cluster would be alone.
func OpenKeyring(path string, first Key) (*Keyring, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && len(first) > 0 {
		r, err := newKeyring(path, first)
		if err != nil {
			return nil, err
		}
		return r, r.save()
	}
	if err != nil {
		return nil, fmt.Errorf("read the gossip keys: %w", err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the gossip keys in %s are damaged: %w", path, err)
	}
	keys := make([]Key, len(list))
	for i, s := range list {
		if keys[i], err = ParseKey(s); err != nil {
			return nil, fmt.Errorf("the gossip keys in %s: %w", path, err)
		}
	}
	r, err := newKeyring(path, keys...)
	if err != nil {
		return nil, fmt.Errorf("the gossip keys in %s: %w", path, err)
	}
	if len(first) > 0 && !r.has(first.ID()) {
		return nil, fmt.Errorf("the gossip key %s that was given is not among those in %s: rotate keys with \"lockd keyring\", and leave "+
			"the file as it is", first.ID(), path)
	}
	return r, nil
}

// save replaces the file as a whole.
func (r *Keyring) save() error {
	if r.path == "" {
		return nil
	}
	var list []string
	for _, k := range r.ring.GetKeys() {
		list = append(list, Key(k).String())
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return replaceFile(r.path, append(text, '\n'))
}

// replaceFile writes a secret so that a crash leaves the old content or the new.
func replaceFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Primary returns the key that is encrypted with.
func (r *Keyring) Primary() KeyID { return Key(r.ring.GetPrimaryKey()).ID() }

// IDs returns all keys, the primary one first.
func (r *Keyring) IDs() []KeyID {
	var ids []KeyID
	for _, k := range r.ring.GetKeys() {
		ids = append(ids, Key(k).ID())
	}
	return ids
}

func (r *Keyring) has(id KeyID) bool { return r.find(id) != nil }

func (r *Keyring) find(id KeyID) Key {
	for _, k := range r.ring.GetKeys() {
		if Key(k).ID() == id {
			return k
		}
	}
	return nil
}

// install adds a key; one that is there already is no error.
func (r *Keyring) install(k Key) error {
	switch {
	case r.has(k.ID()):
		return nil
	case len(r.ring.GetKeys()) >= maxKeys:
		return ErrRingFull
	}
	if err := r.ring.AddKey(bytes.Clone(k)); err != nil {
		return err
	}
	return r.save()
}

// use makes a key the primary one.
func (r *Keyring) use(id KeyID) error {
	k := r.find(id)
	if k == nil {
		return fmt.Errorf("%w: %s", ErrNoKey, id)
	}
	if err := r.ring.UseKey(k); err != nil {
		return err
	}
	return r.save()
}

// remove drops a key; one that is not there is no error.
func (r *Keyring) remove(id KeyID) error {
	k := r.find(id)
	switch {
	case k == nil:
		return nil
	case id == r.Primary():
		return fmt.Errorf("%w: %s", ErrPrimaryKey, id)
	}
	if err := r.drop(k); err != nil {
		return err
	}
	return r.save()
}

// drop takes the keys behind k off, then k, and puts the others back: RemoveKey of another key than the last one moves keys in an
// array that is being read. A packet under one of those keys may be lost meanwhile.
func (r *Keyring) drop(k Key) error {
	all := slices.Clone(r.ring.GetKeys())
	at := slices.IndexFunc(all, func(b []byte) bool { return bytes.Equal(b, k) })
	for _, b := range slices.Backward(all[at:]) {
		if err := r.ring.RemoveKey(b); err != nil {
			return err
		}
	}
	for _, b := range all[at+1:] {
		if err := r.ring.AddKey(b); err != nil {
			return err
		}
	}
	return nil
}
