package main

// #include "shim.h"
import "C"

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"unsafe"
)

// random stretches a key that the host gave once into all random numbers of a stack: AES in
// counter mode. So a seeded host makes a repeatable stack, and netstack may ask from wherever
// it wants without leaving Go.
type random struct {
	mu     sync.Mutex
	stream cipher.Stream
	held   uint64 // the number that is given again
	again  int    // how many times more; < 0: numbers are not held
}

const keySize = 32

// How often a held number is returned again: picking one from a range may take two tries.
const mostAgain = 64

func newRandom(c *C.struct_ps_engine) (*random, C.int) {
	var seed [keySize + aes.BlockSize]byte
	if result := C.shim_random(c, unsafe.Pointer(&seed[0]), C.size_t(len(seed))); result < 0 {
		return nil, result
	}
	block, err := aes.NewCipher(seed[:keySize])
	if err != nil {
		panic(err)
	}
	return &random{stream: cipher.NewCTR(block, seed[keySize:]), again: -1}, 0
}

// hold makes all numbers that netstack draws until release one number. It walks a Go map of the
// groups that it has joined, in an order that no seed repeats, and draws the delay of each one's
// report: with one number for all, the order doesn't show.
func (r *random) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again = 0
}

func (r *random) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again = -1
}

func (r *random) fill(out []byte) {
	for i := range out {
		out[i] = 0
	}
	r.stream.XORKeyStream(out, out)
}

// Read makes it a source of bytes (netstack's SecureRNG).
func (r *random) Read(out []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fill(out)
	return len(out), nil
}

// Uint64, Int63 and Seed make it a source of numbers (math/rand).
func (r *random) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again > 0 {
		r.again--
		return r.held
	}
	var bytes [8]byte
	r.fill(bytes[:])
	number := binary.LittleEndian.Uint64(bytes[:])
	if r.again == 0 {
		r.held, r.again = number, mostAgain
	}
	return number
}

func (r *random) Int63() int64 { return int64(r.Uint64() >> 1) }

func (r *random) Seed(int64) {}
