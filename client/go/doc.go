// Package client is the Go client of lockd.
//
//	c, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:7400"}})
//	l, err := c.Lock(ctx, "jobs/nightly")           // waits in the queue; ctx bounds the wait only
//	defer l.Unlock(context.WithoutCancel(ctx))
//	run(l.Context(), l.Token())                     // the Context ends, with its cause, when the lock may be lost
//
// # Holding
//
// A lock is held until [Lock.ValidUntil], which moves forwards while the cluster confirms the session. [Lock.Context]
// ends the moment that time passes, or the lock is unlocked or taken away, and tells why by [context.Cause]; so whatever
// takes a context stops with the lock. [Lock.Err] compares with the clock itself: a process that was stopped sees the loss
// before its next line that asks. A lost connection is no loss: the client goes on over another node, keeps its
// place in every queue, and the lock while its validity lasts.
//
// No lock service can stop a holder that is paused between the check and the write. Send [Lock.Token] with every write
// and let the resource refuse a token that is too old: package guard, or [Client.CheckToken], help it.
//
// # Sessions, owners
//
// A [Session] is what the cluster watches: it carries any number of locks on one KeepAlive. A Client has a default one, opened
// with the first lock. Each call asks as an owner of its own, so two goroutines contend like strangers. A call with a
// context that comes from a [Lock.Context] asks as the owner of that lock: it is told [ErrAlreadyHeld] instead of waiting
// for itself, or enters again with [Reentrant].
//
// # Errors
//
// Errors wrap one of the sentinels, and an [*Error] that says what was asked for, where, and whether the outcome
// is known. Nothing that the cluster refused for good is asked for again; all else is, until the ctx of the call ends. When it
// ends while the cluster may have granted the lock, the client cancels in the background: a grant nobody waits for is given back.
//
// # Concurrency
//
// Everything is safe for concurrent use. Every blocking call ends with its ctx, whatever the network does. Nothing runs after
// [Client.Close] has returned.
package client
