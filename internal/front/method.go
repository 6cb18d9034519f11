package front

import "github.com/lockd/lockd/internal/wire"

// Method returns what requests of a type are called in spans and metrics, empty for what is no request.
func Method(t wire.Type) string { return spanNames[t] }
