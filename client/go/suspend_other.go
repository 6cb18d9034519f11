//go:build !linux

package client

import "time"

// platformSuspended returns 0: there is no clock here that counts a sleep apart. A sleep is noticed by the cluster's time.
func platformSuspended() time.Duration { return 0 }
