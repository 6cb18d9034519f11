//go:build !race

package endurance

const walks = true
