package simworld

import (
	"fmt"

	"github.com/lockd/lockd/lockd/locktable"
)

// describe prints a command for the trace.
func describe(cmd locktable.Command) string {
	switch c := cmd.(type) {
	case *locktable.Acquire:
		return fmt.Sprintf("acquire %v mode %d of %x@%d seq %d acked %d seen %v", c.Names, c.Mode, c.Session.ID[8:], c.Session.Index,
			c.Seq, c.Acked, c.Seen)
	case *locktable.Release:
		return fmt.Sprintf("release %d of %x@%d seq %d acked %d seen %v", c.Token, c.Session.ID[8:], c.Session.Index, c.Seq, c.Acked, c.Seen)
	case *locktable.Cancel:
		return fmt.Sprintf("cancel %d of %x@%d seq %d acked %d seen %v", c.Target, c.Session.ID[8:], c.Session.Index, c.Seq, c.Acked, c.Seen)
	case *locktable.Open:
		return fmt.Sprintf("open %x", c.ID[8:])
	case *locktable.Close:
		return fmt.Sprintf("close %x@%d", c.Session.ID[8:], c.Session.Index)
	case *locktable.Expire:
		return fmt.Sprintf("expire %d lives of term %d", len(c.Lives), c.Term)
	case *locktable.RenewLease:
		return fmt.Sprintf("renew %d for %v", c.Token, c.TTL)
	case *locktable.TakeLease:
		return fmt.Sprintf("take %d over", c.Token)
	case *locktable.ReleaseLease:
		return fmt.Sprintf("release the lease %d", c.Token)
	default:
		return fmt.Sprintf("%T", cmd)
	}
}

// request returns the part of a command that makes it exactly-once, or nil.
func requestOf(cmd locktable.Command) *locktable.Request {
	switch c := cmd.(type) {
	case *locktable.Acquire:
		return &c.Request
	case *locktable.Release:
		return &c.Request
	case *locktable.Cancel:
		return &c.Request
	case *locktable.SetValue:
		return &c.Request
	default:
		return nil
	}
}
