// Command lockd is the lock service: its daemon and its command line.
//
//	lockd serve --dev                        one node, in memory
//	lockd lock jobs/nightly -- ./nightly.sh  run a command under a lock
//
// `lockd help` lists the commands, `lockd help COMMAND` explains one with examples.
package main

import (
	"context"
	"os"
)

func main() {
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}
