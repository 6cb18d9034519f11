package wire

import (
	"errors"
	"unsafe"
)

// MetadataMax is how many bytes metadata may have.
const MetadataMax = 4096

// Metadata is the form that the metadata of sessions, holds and waits should have, so that every tool can show who holds a lock and
// link to its trace. The cluster does not look into it.
type Metadata struct {
	Identity string       `wire:"1024"` // who, in the user's words
	Host     string       `wire:"256"`  // name of the machine
	PID      uint64       // of the process, 0 if there is none
	Trace    TraceContext // of the span that asked
}

var metadataShape = shapeFor[Metadata]()

// Encode returns the bytes of the metadata, or an error that names the field that is too long.
func (m *Metadata) Encode() ([]byte, error) {
	var w pen
	metadataShape.put(&w, unsafe.Pointer(m))
	if w.wrong {
		return nil, metadataShape.verify(w.b, "Metadata")
	}
	return w.b, nil
}

// DecodeMetadata reads metadata. An error means that somebody used another form, which is allowed.
func DecodeMetadata(b []byte) (m Metadata, err error) {
	if len(b) > MetadataMax {
		return m, errors.New("wire: metadata is too long")
	}
	if err := metadataShape.verify(b, "Metadata"); err != nil {
		return m, err
	}
	metadataShape.get(&cursor{body: b}, unsafe.Pointer(&m))
	return m, nil
}
