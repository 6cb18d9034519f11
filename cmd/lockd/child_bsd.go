//go:build unix && !linux

package main

import "syscall"

// dieWithParent does nothing here: the system offers no such thing, and a child outlives a parent that was killed.
func dieWithParent(*syscall.SysProcAttr) {}
