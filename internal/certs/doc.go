// Package certs keeps TLS certificates that are read from files, and read again when the files change, so that certificates and
// authorities are replaced without a restart.
//
//	store, err := certs.Open(certs.Options{Cert: "node.pem", Key: "node.key", CA: "ca.pem", Node: certs.NodeName("lockd")})
//	if err != nil { … }
//	go store.Run(ctx, logger)          // looks at the files every ten seconds
//	config, err := store.Peer()        // for the Raft port
//	err = store.Reload()               // at once, as on SIGHUP
//
// # Changing an authority
//
// Every handshake uses what is current: the certificate, and the authorities that the other side is checked by. So an authority is
// changed in three steps, without a moment at which two nodes refuse each other: add the new one to every CA file, replace the
// certificates, remove the old one. Connections live on with what they began with.
//
// A reload takes all files or none. What cannot be read, does not fit together, or has expired is refused, and what was there stays.
//
// # Who may speak
//
// TLS 1.3 only, and no resumption: a removed authority must not be outlived by its tickets. With a CA file a server asks for
// certificates (mTLS). On a port for nodes alone a certificate must also bear the name that only nodes have (NodeName): otherwise any
// client of the same authority could speak Raft. For the same reason nodes check each other by that name instead of by host.
//
// # Concurrency
//
// A Store is safe for concurrent use. No lock is held while files are read.
package certs
