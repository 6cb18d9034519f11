// Package endurance has the tests of the whole service against the end of its processes and its disks, with real nodes, real clients,
// real kills and power cuts, and of what it gathers over a day of leaders that come and go. The package has no code of its own.
package endurance
