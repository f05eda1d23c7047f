package main

// #include "shim.h"
import "C"

import (
	"io"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

func (s *socket) state() tcp.EndpointState { return tcp.EndpointState(s.endpoint.State()) }

func isFresh(state tcp.EndpointState) bool {
	return state == tcp.StateInitial || state == tcp.StateBound
}

func isConnecting(state tcp.EndpointState) bool {
	return state == tcp.StateConnecting || state == tcp.StateSynSent || state == tcp.StateSynRecv
}

func isOver(state tcp.EndpointState) bool {
	return state == tcp.StateClose || state == tcp.StateError
}

// renew gives the socket an endpoint as new, with what the user has set on the old one: in
// Linux a socket whose connect has failed, or that has stopped listening, can be used again.
func (s *socket) renew(rebind bool) int64 {
	s.queue.EventUnregister(&s.entry)
	s.endpoint.Close()
	endpoint, queue, result := s.newEndpoint(s.engine)
	if result < 0 {
		panic("an endpoint that was there can't be made again")
	}
	s.adopt(endpoint, queue)
	s.attempted, s.shut = false, 0
	for option := C.enum_ps_option(0); option < C.PS_OPT_COUNT; option++ {
		if value, set := s.chosen[option]; set {
			if result := s.setOption(option, value); result < 0 {
				return result
			}
		}
	}
	if rebind && s.bound != nil {
		return number(s.endpoint.Bind(*s.bound))
	}
	s.bound = nil
	return 0
}

func (s *socket) listen(backlog int64) int64 {
	if most := s.engine.settings.get("net.core.somaxconn"); backlog < 0 || backlog > most {
		backlog = most
	}
	if state := s.state(); !isFresh(state) && state != tcp.StateListen {
		return negative(syscall.EINVAL)
	}
	// Linux lets one more wait than it is told, and at least one.
	s.backlog = backlog
	return number(s.endpoint.Listen(int(backlog) + 1))
}

func (s *socket) accept(remote *C.struct_ps_address) int64 {
	var peer tcpip.FullAddress
	endpoint, queue, err := s.endpoint.Accept(&peer)
	if err != nil {
		return number(err)
	}
	child := &socket{family: s.family, kind: s.kind, protocol: s.protocol}
	s.engine.enter(child)
	child.adopt(endpoint, queue)
	for option := C.enum_ps_option(0); option < C.PS_OPT_COUNT; option++ {
		if value, set := s.chosen[option]; set && inherited[option] {
			child.chosen[option] = value
			// netstack passes on some of them itself; a second time does no harm.
			child.setOption(option, value)
		}
	}
	setEnd(remote, peer, s.family)
	return child.handle
}

func (s *socket) connectStream(to *C.struct_ps_address) int64 {
	s.takeProblem()
	state := s.state()
	switch {
	case state == tcp.StateListen:
		return negative(syscall.EISCONN)
	case s.problem != 0:
		return s.raise()
	case to.family == C.PS_UNSPECIFIED:
		if isFresh(state) || isOver(state) {
			return 0 // nothing to dissolve
		}
		return negative(syscall.EISCONN)
	case isOver(state) && s.attempted:
		if result := s.renew(true); result < 0 {
			return result
		}
	}
	ip, _ := ipOf(to)
	if isFresh(s.state()) && (isMulticast(ip) || ip == header.IPv4Broadcast) {
		return negative(syscall.ENETUNREACH)
	}
	err := s.endpoint.Connect(s.target(to))
	switch err.(type) {
	case nil:
		return 0
	case *tcpip.ErrConnectStarted:
		s.attempted = true
		return negative(syscall.EINPROGRESS)
	case *tcpip.ErrPortInUse:
		return negative(syscall.EADDRNOTAVAIL)
	}
	return negative(unrouted(err))
}

func (s *socket) shutdownStream(how uint32) int64 {
	state := s.state()
	switch {
	case state == tcp.StateListen:
		if how&C.PS_SHUT_READ != 0 { // as in Linux: it stops listening
			return s.renew(false)
		}
		return 0
	case isFresh(state) || isOver(state) || isConnecting(state):
		return negative(syscall.ENOTCONN)
	}
	s.shut |= how
	return number(s.endpoint.Shutdown(flagsOf(how)))
}

func (s *socket) streamReady() uint32 {
	s.takeProblem()
	mask := uint32(0)
	if s.problem != 0 {
		mask |= C.PS_READY_ERROR
	}
	state := s.state()
	switch {
	case state == tcp.StateListen:
		if s.endpoint.Readiness(waiter.ReadableEvents) != 0 {
			mask |= C.PS_READY_READ
		}
		return mask
	case isConnecting(state):
		return mask
	case isFresh(state):
		if s.shut&C.PS_SHUT_READ != 0 {
			mask |= C.PS_READY_READ | C.PS_READY_ENDED
		}
		return mask | C.PS_READY_WRITE | C.PS_READY_HANGUP | C.PS_READY_DRAINED
	case isOver(state) || state == tcp.StateTimeWait:
		return mask | C.PS_READY_READ | C.PS_READY_WRITE | C.PS_READY_HANGUP | C.PS_READY_ENDED |
			C.PS_READY_DRAINED
	}
	within := look(s.endpoint)
	closed := within.receiving.RcvClosed
	if within.receiving.RcvBufUsed >= s.lowWater() {
		mask |= C.PS_READY_READ
	}
	if closed {
		mask |= C.PS_READY_READ | C.PS_READY_ENDED
	}
	if within.sending.SndClosed {
		mask |= C.PS_READY_WRITE
		if closed {
			mask |= C.PS_READY_HANGUP
		}
	} else if within.sending.SndBufUsed < int(s.endpoint.SocketOptions().GetSendBufferSize()) {
		mask |= C.PS_READY_WRITE
	}
	if within.sending.SndBufUsed == 0 &&
		(within.sender == nil || within.sender.SndUna == within.sender.SndNxt) {
		mask |= C.PS_READY_DRAINED
	}
	return mask
}

func (s *socket) lowWater() int {
	if value := s.chosen[C.PS_OPT_RCVLOWAT]; value > 1 {
		return int(value)
	}
	return 1
}

func (s *socket) sendStream(data *pieces, flags uint32) int64 {
	s.takeProblem()
	state := s.state()
	switch {
	case s.problem != 0:
		return s.raise()
	case isConnecting(state):
		return negative(syscall.EAGAIN)
	case isFresh(state) || isOver(state) || state == tcp.StateListen || s.shut&C.PS_SHUT_WRITE != 0:
		return negative(syscall.EPIPE)
	case flags&C.PS_MSG_OOB != 0:
		return negative(syscall.EOPNOTSUPP)
	case data.Len() == 0:
		return 0
	}
	sent, err := s.endpoint.Write(data, tcpip.WriteOptions{More: flags&C.PS_MSG_MORE != 0})
	if sent > 0 {
		return sent
	}
	return number(err)
}

func (s *socket) receiveStream(room *pieces, flags uint32) int64 {
	if flags&C.PS_MSG_OOB != 0 {
		return negative(syscall.EINVAL) // netstack has no urgent data
	}
	state := s.state()
	if isFresh(state) || state == tcp.StateListen {
		return negative(syscall.ENOTCONN)
	}
	within := look(s.endpoint)
	if within.receiving.RcvBufUsed == 0 {
		s.takeProblem()
		switch {
		case within.receiving.RcvClosed:
			return 0 // also if a reset came after it: the stream was whole
		case s.problem != 0:
			return s.raise()
		case isOver(state) || room.Len() == 0:
			return 0
		}
		return negative(syscall.EAGAIN)
	}
	if room.Len() == 0 {
		return 0
	}
	var into io.Writer = room
	if flags&C.PS_MSG_TRUNC != 0 {
		into = &nowhere{room.Len()}
	}
	peek := flags&C.PS_MSG_PEEK != 0
	result, err := s.endpoint.Read(into, tcpip.ReadOptions{Peek: peek})
	if err != nil {
		return number(err)
	}
	if !peek {
		s.endpoint.ModerateRecvBuf(result.Count)
	}
	return int64(result.Count)
}
