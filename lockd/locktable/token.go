package locktable

import (
	"errors"
	"fmt"
	"time"
)

// tokenGap is by how much the tokens of an incarnation are above those of the state it began with: more than all that may have
// been granted after that state was saved.
const tokenGap = 1 << 42

// seedShift leaves four million tokens to every second since tokenEpoch.
const seedShift = 22

// The years a wall clock is believed.
var (
	tokenEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	tokenEnd   = time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC)
)

// ErrWallClock is what TokenSeed returns for a wall clock that cannot be right.
var ErrWallClock = errors.New("the wall clock cannot be right")

// TokenSeed returns the seed of an incarnation's tokens: from the wall clock, and above the counter of the state it begins with. Build
// is when this program was built, saved when that state was saved (zero at the birth of a cluster). A wall clock before either, or
// out of all reason, is refused: an operator who knows better gives the seed himself. Nothing else trusts a wall clock.
func TokenSeed(wall, build, saved time.Time, counter uint64) (uint64, error) {
	switch {
	case wall.Before(build):
		return 0, fmt.Errorf("%w: it shows %s, before this program was built (%s)", ErrWallClock, wall.UTC(), build.UTC())
	case wall.Before(saved):
		return 0, fmt.Errorf("%w: it shows %s, before the state was saved (%s)", ErrWallClock, wall.UTC(), saved.UTC())
	case wall.Before(tokenEpoch) || wall.After(tokenEnd):
		return 0, fmt.Errorf("%w: it shows %s", ErrWallClock, wall.UTC())
	}
	seed := uint64(wall.Sub(tokenEpoch)/time.Second) << seedShift
	if counter > 0 {
		seed = max(seed, counter+tokenGap)
	}
	if seed > SeedMax {
		return 0, fmt.Errorf("%w: it gives the seed %d, above %d", ErrWallClock, seed, uint64(SeedMax))
	}
	return seed, nil
}
