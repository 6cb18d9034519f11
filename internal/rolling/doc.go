// Package rolling restarts, replaces and upgrades the nodes of a cluster one after the other, as an operator would, with the lockd
// program and its own commands, while clients work. Its tests demand that no request fails and that who holds a lock
// never sees it in doubt. The package has no code for others.
package rolling
