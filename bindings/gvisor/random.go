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
}

const keySize = 32

func newRandom(c *C.struct_ps_engine) (*random, C.int) {
	var seed [keySize + aes.BlockSize]byte
	if result := C.shim_random(c, unsafe.Pointer(&seed[0]), C.size_t(len(seed))); result < 0 {
		return nil, result
	}
	block, err := aes.NewCipher(seed[:keySize])
	if err != nil {
		panic(err)
	}
	return &random{stream: cipher.NewCTR(block, seed[keySize:])}, 0
}

// Read makes it a source of bytes (netstack's SecureRNG).
func (r *random) Read(out []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range out {
		out[i] = 0
	}
	r.stream.XORKeyStream(out, out)
	return len(out), nil
}

// Uint64, Int63 and Seed make it a source of numbers (math/rand).
func (r *random) Uint64() uint64 {
	var bytes [8]byte
	r.Read(bytes[:])
	return binary.LittleEndian.Uint64(bytes[:])
}

func (r *random) Int63() int64 { return int64(r.Uint64() >> 1) }

func (r *random) Seed(int64) {}
