package main

// #include "shim.h"
import "C"

import (
	"io"
	"unsafe"
)

// pieces is the host's scattered memory, read from or written to once, from its beginning on.
type pieces struct {
	rest []C.struct_ps_piece
	at   int // in the first of the rest
	left int // bytes
}

func newPieces(first *C.struct_ps_piece, count C.size_t) *pieces {
	p := &pieces{}
	if count > 0 {
		p.rest = unsafe.Slice(first, int(count))
	}
	for _, each := range p.rest {
		p.left += int(each.size)
	}
	return p
}

// Len says how many bytes are left.
func (p *pieces) Len() int { return p.left }

// next gives up to `most` bytes of what is left, and passes them.
func (p *pieces) next(most int) []byte {
	for len(p.rest) > 0 {
		piece := p.rest[0]
		size := int(piece.size) - p.at
		if size == 0 {
			p.rest, p.at = p.rest[1:], 0
			continue
		}
		if size > most {
			size = most
		}
		start := unsafe.Add(unsafe.Pointer(piece.base), p.at)
		p.at += size
		p.left -= size
		return unsafe.Slice((*byte)(start), size)
	}
	return nil
}

func (p *pieces) Read(out []byte) (int, error) {
	done := 0
	for done < len(out) && p.left > 0 {
		done += copy(out[done:], p.next(len(out)-done))
	}
	if done == 0 && len(out) > 0 {
		return 0, io.EOF
	}
	return done, nil
}

func (p *pieces) Write(data []byte) (int, error) {
	done := 0
	for done < len(data) {
		part := p.next(len(data) - done)
		if part == nil {
			return done, io.ErrShortWrite
		}
		done += copy(part, data[done:])
	}
	return done, nil
}

// nowhere takes up to a number of bytes and drops them.
type nowhere struct{ left int }

func (n *nowhere) Write(data []byte) (int, error) {
	if len(data) > n.left {
		taken := n.left
		n.left = 0
		return taken, io.ErrShortWrite
	}
	n.left -= len(data)
	return len(data), nil
}
