package main

// #include "shim.h"
import "C"

import (
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A handle is a slot's number below its generation, which grows when the slot is freed: a stale
// handle is nobody's.
type slot struct {
	socket     *socket
	generation uint32
	nextFree   int
}

// socket is a netstack endpoint with a handle, and what Linux's sockets know beyond it.
type socket struct {
	engine   *engine
	handle   int64
	family   C.uint8_t
	kind     C.uint8_t // PS_STREAM, PS_DATAGRAM, PS_RAW
	protocol int
	endpoint tcpip.Endpoint
	queue    *waiter.Queue
	entry    waiter.Entry
	flagged  bool // it is in engine.dirty
	news     bool // something came since that was looked at
	problem  syscall.Errno
	backlog  int64 // of a listener
	chosen   map[C.enum_ps_option]int64 // what the user has set
	bound    *tcpip.FullAddress
	shut     uint32 // PS_SHUT_*

	remote       *tcpip.FullAddress // of a raw socket, which netstack doesn't tell
	peeked       *datagram
	gathered     []byte // by MSG_MORE
	gatheredTo   *C.struct_ps_address
	attempted    bool // a connect has begun, so that its failure leaves netstack's endpoint spent
	stoppedShort bool // a listener that was shut down
}

func (s *socket) network() tcpip.NetworkProtocolNumber {
	if s.family == C.PS_INET {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// NotifyEvent is called from the inside of netstack, with its locks held.
func (s *socket) NotifyEvent(mask waiter.EventMask) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.news = s.news || mask&(waiter.ReadableEvents|waiter.EventErr) != 0
	if !s.flagged {
		s.flagged = true
		s.engine.dirty = append(s.engine.dirty, s)
	}
}

// report turns what netstack said of sockets into events for the host.
func (e *engine) report() {
	e.withdrawConflicts()
	e.mu.Lock()
	dirty := e.dirty
	e.dirty = nil
	news := make([]uint32, len(dirty))
	for i, s := range dirty {
		if s.news {
			news[i] = C.PS_READY_NEWS
		}
		s.flagged, s.news = false, false
	}
	e.mu.Unlock()
	for i, s := range dirty {
		if e.find(C.int64_t(s.handle)) == s {
			e.post(C.PS_EVENT_SOCKET, s.handle, s.ready()|news[i])
		}
	}
}

const everyEvent = waiter.ReadableEvents | waiter.WritableEvents | waiter.EventErr | waiter.EventHUp

func (s *socket) adopt(endpoint tcpip.Endpoint, queue *waiter.Queue) {
	s.endpoint, s.queue = endpoint, queue
	s.entry.Init(s, everyEvent)
	queue.EventRegister(&s.entry)
}

func (e *engine) enter(s *socket) {
	number := e.firstFree
	if number < 0 {
		number = len(e.slots)
		e.slots = append(e.slots, slot{})
	} else {
		e.firstFree = e.slots[number].nextFree
	}
	e.slots[number].socket = s
	s.engine = e
	s.handle = int64(e.slots[number].generation)<<32 | int64(number)
	s.chosen = map[C.enum_ps_option]int64{}
}

func (e *engine) find(handle C.int64_t) *socket {
	number := int64(uint32(handle))
	if handle < 0 || number >= int64(len(e.slots)) {
		return nil
	}
	s := e.slots[number].socket
	if s == nil || s.handle != int64(handle) {
		return nil
	}
	return s
}

func (e *engine) forget(s *socket) {
	number := int(uint32(s.handle))
	e.slots[number] = slot{
		generation: (e.slots[number].generation + 1) & 0x7fffffff, nextFree: e.firstFree,
	}
	e.firstFree = number
}

func (s *socket) close() {
	s.queue.EventUnregister(&s.entry)
	s.endpoint.Close()
	s.engine.forget(s)
}

// closeSockets resets all connections: nobody will be there to end them in order.
func (e *engine) closeSockets() {
	for _, each := range e.slots {
		if each.socket != nil {
			each.socket.endpoint.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
			each.socket.close()
		}
	}
}

// withSocket runs the body of an entry that is about one socket.
func withSocket(c *C.struct_ps_engine, handle C.int64_t, body func(s *socket) int64) int64 {
	return call(c, func(e *engine) int64 {
		s := e.find(handle)
		if s == nil {
			return negative(syscall.EBADF)
		}
		return body(s)
	})
}

// takeProblem moves the errors that wait inside netstack's endpoint into the socket, which has
// room for one. A TCP endpoint may have two for one reason.
func (s *socket) takeProblem() {
	for err := s.endpoint.LastError(); err != nil; err = s.endpoint.LastError() {
		if s.problem == 0 {
			s.problem = errno(err)
		}
	}
}

// raise gives the pending error, and clears it.
func (s *socket) raise() int64 {
	problem := s.problem
	s.problem = 0
	return negative(problem)
}

// newEndpoint makes the endpoint of a socket's kind.
func (s *socket) newEndpoint(e *engine) (tcpip.Endpoint, *waiter.Queue, int64) {
	queue := &waiter.Queue{}
	v6 := s.family == C.PS_INET6
	var endpoint tcpip.Endpoint
	var err tcpip.Error
	switch s.kind {
	case C.PS_STREAM:
		if s.protocol != 0 && s.protocol != syscall.IPPROTO_TCP {
			return nil, nil, negative(syscall.EPROTONOSUPPORT)
		}
		s.protocol = syscall.IPPROTO_TCP
		endpoint, err = e.stack.NewEndpoint(tcp.ProtocolNumber, s.network(), queue)
	case C.PS_DATAGRAM:
		switch {
		case s.protocol == 0 || s.protocol == syscall.IPPROTO_UDP:
			s.protocol = syscall.IPPROTO_UDP
			endpoint, err = e.stack.NewEndpoint(udp.ProtocolNumber, s.network(), queue)
		case s.protocol == syscall.IPPROTO_ICMP && !v6:
			endpoint, err = e.stack.NewEndpoint(icmp.ProtocolNumber4, s.network(), queue)
		case s.protocol == syscall.IPPROTO_ICMPV6 && v6:
			endpoint, err = e.stack.NewEndpoint(icmp.ProtocolNumber6, s.network(), queue)
		default:
			return nil, nil, negative(syscall.EPROTONOSUPPORT)
		}
	case C.PS_RAW:
		if s.protocol == 0 {
			return nil, nil, negative(syscall.EPROTONOSUPPORT)
		}
		endpoint, err = e.stack.NewRawEndpoint(
			tcpip.TransportProtocolNumber(s.protocol), s.network(), queue,
			s.protocol != syscall.IPPROTO_RAW)
	default:
		return nil, nil, negative(syscall.ESOCKTNOSUPPORT)
	}
	if err != nil {
		return nil, nil, number(err)
	}
	if s.kind != C.PS_STREAM {
		// A receive tells all of this; whether the program wants it is decided above us.
		options := endpoint.SocketOptions()
		options.SetReceiveTTL(true)
		options.SetReceiveTOS(true)
		options.SetReceivePacketInfo(true)
		if v6 {
			options.SetReceiveHopLimit(true)
			options.SetReceiveTClass(true)
			options.SetIPv6ReceivePacketInfo(true)
		}
	}
	e.settings.applySocket(endpoint, s.kind)
	return endpoint, queue, 0
}

//export gvSocketOpen
func gvSocketOpen(
	c *C.struct_ps_engine, family C.enum_ps_family, kind C.enum_ps_type, protocol C.int,
) int64 {
	return call(c, func(e *engine) int64 {
		if family != C.PS_INET && family != C.PS_INET6 {
			return negative(syscall.EAFNOSUPPORT)
		}
		if protocol < 0 || protocol > 255 {
			return negative(syscall.EINVAL)
		}
		s := &socket{family: C.uint8_t(family), kind: C.uint8_t(kind), protocol: int(protocol)}
		endpoint, queue, result := s.newEndpoint(e)
		if result < 0 {
			return result
		}
		e.enter(s)
		s.adopt(endpoint, queue)
		return s.handle
	})
}

//export gvSocketClose
func gvSocketClose(c *C.struct_ps_engine, handle C.int64_t) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		s.close()
		return 0
	})
}

// accepts says whether a socket may be given an address.
func (s *socket) accepts(address *C.struct_ps_address) syscall.Errno {
	if address.family != s.family {
		return syscall.EAFNOSUPPORT
	}
	ip, _ := ipOf(address)
	if s.family == C.PS_INET6 && len(ip) == header.IPv4AddressSize &&
		s.endpoint.SocketOptions().GetV6Only() {
		return syscall.ENETUNREACH
	}
	if scope := uint32(address.scope); scoped(ip) && scope != 0 &&
		s.engine.interfaces[scope] == nil {
		return syscall.EINVAL
	}
	return 0
}

//export gvSocketBind
func gvSocketBind(c *C.struct_ps_engine, handle C.int64_t, address *C.struct_ps_address) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if problem := s.accepts(address); problem == syscall.ENETUNREACH {
			return negative(syscall.EINVAL)
		} else if problem != 0 {
			return negative(problem)
		}
		end := endOf(address)
		if s.kind == C.PS_RAW {
			end.Port = 0 // a raw socket's port is its protocol
		}
		if err := s.endpoint.Bind(end); err != nil {
			switch err.(type) {
			case *tcpip.ErrNoPortAvailable:
				return negative(syscall.EADDRINUSE)
			}
			return number(err)
		}
		s.bound = &end
		return 0
	})
}

//export gvSocketListen
func gvSocketListen(c *C.struct_ps_engine, handle C.int64_t, backlog C.int) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if s.kind != C.PS_STREAM {
			return negative(syscall.EOPNOTSUPP)
		}
		return s.listen(int64(backlog))
	})
}

//export gvSocketAccept
func gvSocketAccept(
	c *C.struct_ps_engine, handle C.int64_t, remote *C.struct_ps_address,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if s.kind != C.PS_STREAM {
			return negative(syscall.EOPNOTSUPP)
		}
		return s.accept(remote)
	})
}

//export gvSocketConnect
func gvSocketConnect(c *C.struct_ps_engine, handle C.int64_t, to *C.struct_ps_address) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if to.family != C.PS_UNSPECIFIED {
			if problem := s.accepts(to); problem != 0 {
				return negative(problem)
			}
		}
		if s.kind == C.PS_STREAM {
			return s.connectStream(to)
		}
		return s.connectDatagram(to)
	})
}

// target gives where a program wants to go: the wildcard means this host, as in Linux.
func (s *socket) target(to *C.struct_ps_address) tcpip.FullAddress {
	end := endOf(to)
	ip, _ := ipOf(to)
	if ip.Unspecified() {
		end.Addr = header.IPv6Loopback
		if len(ip) == header.IPv4AddressSize {
			end.Addr = "\x7f\x00\x00\x01"
		}
	}
	if end.NIC == 0 {
		end.NIC = tcpip.NICID(s.chosen[C.PS_OPT_BINDTODEVICE])
	}
	return end
}

//export gvSocketShutdown
func gvSocketShutdown(c *C.struct_ps_engine, handle C.int64_t, how C.uint32_t) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if how == 0 || how > C.PS_SHUT_READ|C.PS_SHUT_WRITE {
			return negative(syscall.EINVAL)
		}
		if s.kind == C.PS_STREAM {
			return s.shutdownStream(uint32(how))
		}
		return s.shutdownDatagram(uint32(how))
	})
}

func flagsOf(how uint32) tcpip.ShutdownFlags {
	var flags tcpip.ShutdownFlags
	if how&C.PS_SHUT_READ != 0 {
		flags |= tcpip.ShutdownRead
	}
	if how&C.PS_SHUT_WRITE != 0 {
		flags |= tcpip.ShutdownWrite
	}
	return flags
}

//export gvSocketName
func gvSocketName(
	c *C.struct_ps_engine, handle C.int64_t, which C.enum_ps_name, out *C.struct_ps_address,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		var end tcpip.FullAddress
		var err tcpip.Error
		switch {
		case which == C.PS_NAME_LOCAL:
			end, err = s.endpoint.GetLocalAddress()
		case s.kind == C.PS_RAW && s.remote != nil:
			end = *s.remote
		default:
			end, err = s.endpoint.GetRemoteAddress()
		}
		if err != nil {
			return number(err)
		}
		setEnd(out, end, s.family)
		return 0
	})
}

func (s *socket) ready() uint32 {
	if s.kind == C.PS_STREAM {
		return s.streamReady()
	}
	return s.datagramReady()
}

//export gvSocketReady
func gvSocketReady(c *C.struct_ps_engine, handle C.int64_t, mask *C.uint32_t) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		*mask = C.uint32_t(s.ready())
		return 0
	})
}

//export gvSocketSend
func gvSocketSend(
	c *C.struct_ps_engine, handle C.int64_t, pieces *C.struct_ps_piece, count C.size_t,
	flags C.uint32_t, to *C.struct_ps_address, control *C.struct_ps_send_control,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		data := newPieces(pieces, count)
		if s.kind == C.PS_STREAM {
			return s.sendStream(data, uint32(flags))
		}
		return s.sendDatagram(data, uint32(flags), to, control)
	})
}

//export gvSocketReceive
func gvSocketReceive(
	c *C.struct_ps_engine, handle C.int64_t, pieces *C.struct_ps_piece, count C.size_t,
	flags C.uint32_t, message *C.struct_ps_message,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if message != nil {
			*message = C.struct_ps_message{}
		}
		room := newPieces(pieces, count)
		if s.kind == C.PS_STREAM {
			return s.receiveStream(room, uint32(flags))
		}
		return s.receiveDatagram(room, uint32(flags), message)
	})
}

// registered lists netstack's TCP endpoints, those in TIME-WAIT among them.
func (e *engine) registered() []stack.TransportEndpoint {
	return append(e.stack.RegisteredEndpoints(), e.stack.CleanupEndpoints()...)
}
