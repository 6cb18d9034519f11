//go:build !linux

package main

import "syscall"

// attached does nothing here: a process goes on when this one is killed.
func attached(syscall.Signal) *syscall.SysProcAttr { return nil }
