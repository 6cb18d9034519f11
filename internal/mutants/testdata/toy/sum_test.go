package toy_test

import (
	"os"
	"testing"

	"toy"
)

func TestSum(t *testing.T) {
	if got := toy.Sum(1, 2, 3); got != 6 {
		t.Errorf("Sum(1, 2, 3) = %d, want 6", got)
	}
}

// TestSeeds finds a bug only when it is given enough seeds.
func TestSeeds(t *testing.T) {
	if got := toy.Sum(1, 2, 3); got != 6 && os.Getenv("LOCKD_SEEDS") == "7" {
		t.Errorf("Sum(1, 2, 3) = %d, want 6", got)
	}
}

func TestAlwaysFails(t *testing.T) { t.Error("I fail") }
