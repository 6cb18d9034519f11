package membership

import (
	"errors"
	"fmt"
	"strings"
)

// ErrQuorum is wrapped by the error of CheckQuorum.
var ErrQuorum = errors.New("the cluster would lose its quorum")

// Voter is one of those whose majority decides.
type Voter struct {
	Name    string
	Healthy bool // the leader hears of it
}

// Majority returns how many of so many voters decide.
func Majority(voters int) int { return voters/2 + 1 }

// Margin returns how many more of the voters may fail before nothing can be decided; negative when that is so already.
func Margin(voters []Voter) int { return healthy(voters) - Majority(len(voters)) }

func healthy(voters []Voter) int {
	n := 0
	for _, v := range voters {
		if v.Healthy {
			n++
		}
	}
	return n
}

// CheckQuorum reports whether a change of the voters could be decided by the old ones and leaves a majority of the new ones that
// lives. The error wraps ErrQuorum and shows the arithmetic.
func CheckQuorum(before, after []Voter) error {
	if len(after) == 0 {
		return fmt.Errorf("%w: no voter would be left", ErrQuorum)
	}
	if Margin(before) < 0 {
		return fmt.Errorf("%w: already %s, so nothing can be decided, this change neither; see \"lockd cluster recover\"", ErrQuorum, count(before))
	}
	if Margin(after) < 0 {
		return fmt.Errorf("%w: now %s; after the change %s", ErrQuorum, count(before), count(after))
	}
	return nil
}

// count tells the arithmetic.
func count(voters []Voter) string {
	var down []string
	for _, v := range voters {
		if !v.Healthy {
			down = append(down, v.Name)
		}
	}
	text := fmt.Sprintf("%d of %d voters are healthy and %d are needed", healthy(voters), len(voters), Majority(len(voters)))
	if len(down) > 0 {
		text += " (" + strings.Join(down, ", ") + " down)"
	}
	return text
}
