package main

import "syscall"

// newGroup puts a child into a process group of its own, and has the kernel kill
// it when this process dies before the guard knows of it.
func newGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
