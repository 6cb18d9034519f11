// Package endurance has the tests of the whole service against the end of its processes and its disks: real nodes, real clients,
// real kills and power cuts. The package has no code of its own.
package endurance
