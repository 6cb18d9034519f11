package wal

import (
	"encoding/binary"
	"os"
)

// SumHeader gives a segment's header the sum of its bytes.
func SumHeader(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[headSumAt:], headerSum(b))
	return b
}

// SumRecords gives the records of a segment, one after the other from the end of its header on, their sums.
func SumRecords(b []byte) {
	if len(b) < headerPage {
		return
	}
	n, err := headerLength(b)
	if err != nil || n > int64(len(b)) {
		return
	}
	SumHeader(b[:n])
	h, err := decodeHeader(b[:n])
	if err != nil {
		return
	}
	for b = b[n:]; len(b) >= recordHeaderBytes; {
		size := align(recordHeaderBytes + int64(binary.LittleEndian.Uint32(b)))
		if size == recordHeaderBytes || size > int64(len(b)) {
			return
		}
		number, flags := binary.LittleEndian.Uint64(b[recBatchAt:]), b[recFlagsAt]
		finishRecord(b[:size], h.seed(), number, flags&recFlagLast != 0)
		b = b[size:]
	}
}

// Handle returns the descriptor that holds the directory's lock.
func (d *Dir) Handle() *os.File { return d.handle }
