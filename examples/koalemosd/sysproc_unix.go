//go:build unix && !linux

package main

import "syscall"

// newGroup puts a child into a process group of its own.
func newGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
