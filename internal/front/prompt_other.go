//go:build !unix

package front

// writeOnce is nil where sockets cannot be written to like this.
var writeOnce func(fd uintptr, piece []byte) (int, error)
