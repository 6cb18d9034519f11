// Package x cites docs/HERE.md, HERE.md and review.md.
package x
