// Package guard helps a resource refuse holders that were overtaken.
//
// A holder that is paused (a garbage collection, a stopped machine) may write after its lock went to somebody else.
// Only the resource can refuse that: by the fencing token, a number that rises with every grant. Rule: remember the
// highest floor seen, and refuse every token below it. The floor of a hold is the token of the last exclusive grant,
// so for an exclusive lock simply its own token; readers of a shared lock have tokens of their own above their common floor.
//
// [Gate] does this in memory, [Gate.Middleware] for HTTP handlers. In SQL it is one condition:
//
//	ALTER TABLE report ADD COLUMN fence BIGINT NOT NULL DEFAULT 0;
//
//	UPDATE report SET body = $1, fence = GREATEST(fence, $floor)
//	 WHERE id = $2 AND fence <= $token;
//
// No row updated means: the token is too old, and its holder must stop. Tokens fit BIGINT and, below 2^53, JSON numbers.
package guard
