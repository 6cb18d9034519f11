package pkg

import "testing"

func TestReal(t *testing.T) {
	t.Run("a case", func(t *testing.T) { t.Fatal("real") })
}
