package lockd

// MemoryDisk is what a node in memory leaves to the next one with the same Config.Disk: its disk, for as long as this process
// lives. The zero value is an empty one. One Server uses it at a time.
type MemoryDisk struct {
	home memoryHome
}
