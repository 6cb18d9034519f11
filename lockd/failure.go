package lockd

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/wal"
)

// ErrClone is wrapped by the error of a node that was started with a copy of the data directory of another one that runs.
var ErrClone = errors.New("another process runs with a copy of this data directory")

// explain adds to an error that has ended the node what helps.
func explain(err error, c *Config) error {
	if help := advice(err, c); help != "" {
		return fmt.Errorf("%w\n%s", err, help)
	}
	return err
}

func advice(err error, c *Config) string {
	switch {
	case errors.Is(err, ErrClone):
		return "Give each node a directory of its own; never copy one. Move this one away if the other process is the right one."
	case errors.Is(err, wal.ErrRetired), errors.Is(err, raft.ErrLogLost), errors.Is(err, raft.ErrInconsistent):
		if len(c.InitialCluster) > 1 {
			return fmt.Sprintf("The log of this node has lost what it had acknowledged, so it must not vote again under its name. The cluster "+
				"goes on without it as long as a majority is left. Keep %s aside. To have all nodes again, save the state from one that runs with "+
				"\"lockd snapshot save FILE\", and begin all of them anew from it with \"lockd snapshot restore FILE\".", c.DataDir)
		}
		kept := filepath.Join(c.DataDir, stateDirName, "kept.snapshot")
		return fmt.Sprintf("The log of this node has lost what it had acknowledged. Keep %s aside, look for the newest state with \"lockd snapshot "+
			"inspect\" among %s and the snapshots you have saved, and begin anew from it with \"lockd snapshot restore\".", c.DataDir, kept)
	case errors.Is(err, locktable.ErrCommand), errors.Is(err, wal.ErrVersion), errors.Is(err, checkpoint.ErrVersion):
		return "A later version of lockd wrote this, which knows more than this one. Nothing is lost: start the node with that version or a newer one."
	case errors.Is(err, syscall.EIO):
		return "The disk does not store what is written to it: look at the system's log, and move the node to a disk that works."
	case errors.Is(err, checkpoint.ErrInUse), errors.Is(err, wal.ErrInUse):
		return "Stop the other process, or give this node a directory of its own."
	}
	return ""
}
