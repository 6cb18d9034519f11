// Package acceptance has the tests of what users of lock services suffer from: whole servers and whole clients, on fake time in a
// testing/synctest bubble wherever that can be. The package has no code of its own.
package acceptance
