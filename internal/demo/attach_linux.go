package main

import "syscall"

// attached makes a process end when this one does, however it does.
func attached(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: s}
}
