// Package faultfs gives tests a directory that fails call by call: the third flush of the log says EIO, a write ends at byte 100, a read
// brings a flipped bit, every flush takes 200 ms.
//
// It is a FUSE file system of this process, mounted over nothing and backed by an ordinary directory. It needs root and /dev/fuse, and
// runs with LOCKD_ROOT=1 as package testdisk does. What real file systems do on their own (power cuts, no space, a hung device) is there.
//
// Only other processes may map its files: a page that this one waits for can stop it as a whole, the file system included.
package faultfs
