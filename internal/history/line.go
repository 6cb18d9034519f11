package history

import (
	"fmt"

	"github.com/lockd/lockd/lockd/locktable"
)

// commandLine returns a command for people.
func commandLine(data []byte) string {
	if len(data) == 0 {
		return "no command"
	}
	cmd, err := locktable.Decode(data)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%T%+v", cmd, cmd)[len("*locktable."):]
}
