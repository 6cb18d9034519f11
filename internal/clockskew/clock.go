package clockskew

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Clock says how the clocks of a process go.
type Clock struct {
	Wall  time.Duration // the wall clock is this much ahead of the machine's
	Jump  time.Duration // the monotonic clock goes ahead by this, now and for good
	Drift int64         // parts per million by which both clocks go faster than the machine's, from now on; below 0: slower
}

// Serve calls set, mostly Set, with what each line of r says, a Clock in JSON, and then answers on w with an empty line. It blocks until r
// ends.
func Serve(r io.Reader, w io.Writer, set func(Clock)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var c Clock
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("line of a clock: %w", err)
		}
		set(c)
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return lines.Err()
}
