//go:build !linux

package lockd

import "os"

func (*Host) system() {}

func fileSystem(string) string { return "" }

func syncData(f *os.File) error { return f.Sync() }
