// Package netlab gives tests hosts of their own on one machine, and a network between them that fails as it is told to.
//
// A host is a network namespace with a loopback and one TUN device. The packets of all hosts pass through a switch in this process,
// which delays, loses, doubles, reorders, damages and cuts them, for each direction between two hosts on its own and by a seed. It
// needs root and nothing of the kernel but namespaces and TUN. No route leads out of a host, and none into it: all labs use the same
// addresses and never meet.
//
// Namespaces have no name and devices belong to an open file, so the kernel removes both with the process that made them, however
// it ends. What runs in a host when its test ends is killed.
package netlab
