package session

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Hash is a 128-bit sum over a set of records: the sum of the hash of each, modulo 2^128. So it does not depend on their order,
// and a record is taken out of it as cheaply as it is put in. It guards against damage and divergence, not against malice.
type Hash [2]uint64

// Plus returns h with other put in.
func (h Hash) Plus(other Hash) Hash {
	lo, carry := bits.Add64(h[0], other[0], 0)
	hi, _ := bits.Add64(h[1], other[1], carry)
	return Hash{lo, hi}
}

// Minus returns h with other taken out.
func (h Hash) Minus(other Hash) Hash {
	lo, borrow := bits.Sub64(h[0], other[0], 0)
	hi, _ := bits.Sub64(h[1], other[1], borrow)
	return Hash{lo, hi}
}

// String returns 32 hexadecimal digits.
func (h Hash) String() string { return fmt.Sprintf("%016x%016x", h[1], h[0]) }

// Odd numbers with about half of their bits set: the fractional parts of the square roots of 2, 3, 5 and 7.
const (
	hashRoot2 = 0x6a09e667f3bcc909
	hashRoot3 = 0xbb67ae8584caa73b
	hashRoot5 = 0x3c6ef372fe94f82b
	hashRoot7 = 0xa54ff53a5f1d36f1
)

// Digest returns the hash of one record. Its value is part of the checkpoint format.
func Digest(record []byte) Hash {
	p, q := uint64(hashRoot2)^uint64(len(record)), uint64(hashRoot3)
	for len(record) >= 16 {
		x, y := binary.LittleEndian.Uint64(record), binary.LittleEndian.Uint64(record[8:])
		p, q = mix(p, q, x, y)
		record = record[16:]
	}
	var tail [16]byte
	copy(tail[:], record)
	p, q = mix(p, q, binary.LittleEndian.Uint64(tail[:]), binary.LittleEndian.Uint64(tail[8:]))
	p, q = mix(p, q, hashRoot5, hashRoot7)
	p, q = mix(p, q, q, p)
	return Hash{p, q}
}

// mix folds x and y into both lanes. The words are also added bare, so that a product of zero hides nothing.
func mix(p, q, x, y uint64) (uint64, uint64) {
	hi, lo := bits.Mul64(x^p^hashRoot5, y^q^hashRoot7)
	return bits.RotateLeft64(p+lo, 29) + y, bits.RotateLeft64(q^hi, 31)*hashRoot3 + x
}
