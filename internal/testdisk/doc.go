// Package testdisk gives tests real file systems that lose power or run full. It needs root, loop devices and mkfs.ext4: its tests
// run with LOCKD_ROOT=1 (make disk), and then fail when they cannot be set up.
package testdisk
