package locktable

import (
	"encoding/binary"
	"math"

	"github.com/lockd/lockd/session"
)

func (*Open) kind() kind         { return kindOpen }
func (*Close) kind() kind        { return kindClose }
func (*Expire) kind() kind       { return kindExpire }
func (*Tick) kind() kind         { return kindTick }
func (*Incarnate) kind() kind    { return kindIncarnate }
func (*Acquire) kind() kind      { return kindAcquire }
func (*Release) kind() kind      { return kindRelease }
func (*Cancel) kind() kind       { return kindCancel }
func (*SetValue) kind() kind     { return kindSetValue }
func (*RenewLease) kind() kind   { return kindRenewLease }
func (*ReleaseLease) kind() kind { return kindReleaseLease }
func (*TakeLease) kind() kind    { return kindTakeLease }

func (c *Open) appendTo(b []byte) []byte {
	b = append(b, c.ID[:]...)
	b = session.AppendDuration(b, c.TTL)
	b = session.AppendDuration(b, c.Grace)
	return session.AppendBytes(b, c.Metadata)
}

func (c *Open) read(r *reader) {
	r.Fixed(c.ID[:])
	c.TTL, c.Grace, c.Metadata = r.Duration(), r.Duration(), r.bytes()
}

func (c *Close) appendTo(b []byte) []byte { return session.AppendLife(b, c.Session) }
func (c *Close) read(r *reader)           { c.Session = r.Life() }

func (c *Expire) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, c.Term)
	b = binary.AppendUvarint(b, uint64(len(c.Lives)))
	for _, l := range c.Lives {
		b = session.AppendLife(b, l)
	}
	return b
}

func (c *Expire) read(r *reader) {
	c.Term = r.Uint64()
	for range r.Uint(ExpireMax) {
		l := r.Life()
		if r.Failed() {
			return
		}
		c.Lives = append(c.Lives, l)
	}
}

func (c *Tick) appendTo(b []byte) []byte { return binary.AppendUvarint(b, c.Term) }
func (c *Tick) read(r *reader)           { c.Term = r.Uint64() }

func (c *Incarnate) appendTo(b []byte) []byte {
	b = append(b, c.Incarnation[:]...)
	b = binary.AppendUvarint(b, c.Seed)
	b = session.AppendBool(b, c.Wait < 0)
	return session.AppendDuration(b, max(c.Wait, 0))
}

func (c *Incarnate) read(r *reader) {
	r.Fixed(c.Incarnation[:])
	c.Seed = r.Uint64()
	byDefault := r.Bool()
	c.Wait = r.Duration()
	if byDefault {
		c.Wait = -1
	}
}

func (c *Acquire) appendTo(b []byte) []byte {
	b = appendRequest(b, &c.Request)
	b = binary.AppendUvarint(b, uint64(len(c.Names)))
	for _, name := range c.Names {
		b = session.AppendBytes(b, name)
	}
	b = append(b, byte(c.Mode))
	b = binary.AppendUvarint(b, uint64(c.Limit))
	b = session.AppendDuration(b, c.Wait)
	b = binary.AppendUvarint(b, c.Owner)
	b = session.AppendBool(b, c.Reentrant)
	b = session.AppendDuration(b, c.Delay)
	b = append(b, c.LeaseID[:]...)
	b = session.AppendDuration(b, c.LeaseTTL)
	b = session.AppendBytes(b, c.Value)
	return session.AppendBytes(b, c.Metadata)
}

func (c *Acquire) read(r *reader) {
	r.request(&c.Request)
	c.Names = c.Names[:0]
	for range r.Uint(NamesMax) {
		name := r.name()
		if r.Failed() {
			return
		}
		c.Names = append(c.Names, name)
	}
	c.Mode, c.Limit = Mode(r.Byte()), uint32(r.Uint(math.MaxUint32))
	c.Wait, c.Owner, c.Reentrant, c.Delay = r.Duration(), r.Uint64(), r.Bool(), r.Duration()
	r.Fixed(c.LeaseID[:])
	c.LeaseTTL, c.Value, c.Metadata = r.Duration(), r.bytes(), r.bytes()
}

func (c *Release) appendTo(b []byte) []byte {
	b = appendRequest(b, &c.Request)
	b = session.AppendBytes(b, c.Name)
	return binary.AppendUvarint(b, c.Token)
}

func (c *Release) read(r *reader) {
	r.request(&c.Request)
	c.Name, c.Token = r.name(), r.Uint64()
}

func (c *Cancel) appendTo(b []byte) []byte {
	b = appendRequest(b, &c.Request)
	b = binary.AppendUvarint(b, c.Target)
	return session.AppendBytes(b, c.Name)
}

func (c *Cancel) read(r *reader) {
	r.request(&c.Request)
	c.Target, c.Name = r.Uint64(), r.name()
}

func (c *SetValue) appendTo(b []byte) []byte {
	b = appendRequest(b, &c.Request)
	b = session.AppendBytes(b, c.Name)
	b = binary.AppendUvarint(b, c.Token)
	b = append(b, c.LeaseID[:]...)
	return session.AppendBytes(b, c.Value)
}

func (c *SetValue) read(r *reader) {
	r.request(&c.Request)
	c.Name, c.Token = r.name(), r.Uint64()
	r.Fixed(c.LeaseID[:])
	c.Value = r.bytes()
}

func appendLease(b []byte, name string, id session.ID, token uint64) []byte {
	b = session.AppendBytes(b, name)
	b = append(b, id[:]...)
	return binary.AppendUvarint(b, token)
}

func (r *reader) lease(name *string, id *session.ID, token *uint64) {
	*name = r.name()
	r.Fixed(id[:])
	*token = r.Uint64()
}

func (c *RenewLease) appendTo(b []byte) []byte {
	return session.AppendDuration(appendLease(b, c.Name, c.ID, c.Token), c.TTL)
}

func (c *RenewLease) read(r *reader) {
	r.lease(&c.Name, &c.ID, &c.Token)
	c.TTL = r.Duration()
}

func (c *ReleaseLease) appendTo(b []byte) []byte { return appendLease(b, c.Name, c.ID, c.Token) }
func (c *ReleaseLease) read(r *reader)           { r.lease(&c.Name, &c.ID, &c.Token) }

func (c *TakeLease) appendTo(b []byte) []byte {
	b = appendLease(b, c.Name, c.ID, c.Token)
	b = append(b, c.NewID[:]...)
	b = session.AppendDuration(b, c.TTL)
	return session.AppendBytes(b, c.Metadata)
}

func (c *TakeLease) read(r *reader) {
	r.lease(&c.Name, &c.ID, &c.Token)
	r.Fixed(c.NewID[:])
	c.TTL, c.Metadata = r.Duration(), r.bytes()
}
