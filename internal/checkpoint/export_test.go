package checkpoint

import (
	"os"
	"time"
)

// WithTrace returns options whose store tells of each step on the disk before it takes it.
func (o Options) WithTrace(trace func(step string)) Options {
	o.trace = trace
	return o
}

// SetDeadline gives a store that has failed the time to close.
func (d *Disk) SetDeadline(deadline time.Duration) { d.opt.Deadline = deadline }

// Lock returns the descriptor that keeps other processes out.
func (d *Disk) Lock() *os.File { return d.lock }

// CheckTable looks at the end of a table.
func CheckTable(path string) error { return checkTable(path) }
