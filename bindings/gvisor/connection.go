package main

// #include "shim.h"
import "C"

import (
	"sort"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

var states = map[tcp.EndpointState]C.uint8_t{
	tcp.StateEstablished: C.PS_TCP_ESTABLISHED,
	tcp.StateSynSent:     C.PS_TCP_SYN_SENT,
	tcp.StateConnecting:  C.PS_TCP_SYN_SENT,
	tcp.StateSynRecv:     C.PS_TCP_SYN_RECEIVED,
	tcp.StateFinWait1:    C.PS_TCP_FIN_WAIT_1,
	tcp.StateFinWait2:    C.PS_TCP_FIN_WAIT_2,
	tcp.StateTimeWait:    C.PS_TCP_TIME_WAIT,
	tcp.StateCloseWait:   C.PS_TCP_CLOSE_WAIT,
	tcp.StateLastAck:     C.PS_TCP_LAST_ACK,
	tcp.StateListen:      C.PS_TCP_LISTEN,
	tcp.StateClosing:     C.PS_TCP_CLOSING,
}

func stateOf(state tcp.EndpointState) C.uint8_t {
	if number, known := states[state]; known {
		return number
	}
	return C.PS_TCP_CLOSED
}

// describe gives a socket's row of netstat.
func (s *socket) row() C.struct_ps_connection {
	row := C.struct_ps_connection{
		handle: C.int64_t(s.handle), protocol: C.uint8_t(s.protocol), _type: s.kind,
	}
	setAddress(&row.local, "", s.family)
	setAddress(&row.remote, "", s.family)
	if local, err := s.endpoint.GetLocalAddress(); err == nil {
		setEnd(&row.local, local, s.family)
	}
	if s.remote != nil {
		setEnd(&row.remote, *s.remote, s.family)
	} else if remote, err := s.endpoint.GetRemoteAddress(); err == nil {
		setEnd(&row.remote, remote, s.family)
	}
	if s.kind == C.PS_STREAM {
		row.state = stateOf(s.state())
		within := look(s.endpoint)
		row.receive_queue = C.uint32_t(within.receiving.RcvBufUsed)
		row.send_queue = C.uint32_t(within.sending.SndBufUsed)
		if row.state == C.PS_TCP_LISTEN {
			row.send_queue = C.uint32_t(s.backlog)
		}
	} else if waiting, result := s.getDatagramOption(C.PS_OPT_BYTES_QUEUED); result == 0 {
		row.receive_queue = C.uint32_t(waiting)
	}
	return row
}

// orphans are the TCP endpoints that no socket holds: not accepted yet, or closed and not over.
func (e *engine) orphans() []C.struct_ps_connection {
	held := map[stack.TransportEndpoint]bool{}
	for _, each := range e.slots {
		if each.socket != nil {
			if endpoint, is := each.socket.endpoint.(stack.TransportEndpoint); is {
				held[endpoint] = true
			}
		}
	}
	var all []C.struct_ps_connection
	for _, registered := range e.registered() {
		endpoint, is := registered.(tcpip.Endpoint)
		if !is || held[registered] {
			continue
		}
		info, is := endpoint.Info().(*stack.TransportEndpointInfo)
		if !is || info.TransProto != tcp.ProtocolNumber {
			continue
		}
		held[registered] = true
		family := C.uint8_t(C.PS_INET)
		if len(info.ID.LocalAddress) == header.IPv6AddressSize {
			family = C.PS_INET6
		}
		row := C.struct_ps_connection{
			handle: -1, protocol: syscall.IPPROTO_TCP, _type: C.PS_STREAM,
			state:      stateOf(tcp.EndpointState(endpoint.State())),
			send_queue: C.uint32_t(look(endpoint).sending.SndBufUsed),
		}
		setEnd(&row.local, tcpip.FullAddress{
			Addr: info.ID.LocalAddress, Port: info.ID.LocalPort, NIC: info.RegisterNICID}, family)
		setEnd(&row.remote, tcpip.FullAddress{
			Addr: info.ID.RemoteAddress, Port: info.ID.RemotePort, NIC: info.RegisterNICID}, family)
		all = append(all, row)
	}
	// netstack keeps them in a map.
	sort.Slice(all, func(a, b int) bool {
		if all[a].local.port != all[b].local.port {
			return all[a].local.port < all[b].local.port
		}
		return all[a].remote.port < all[b].remote.port
	})
	return all
}

//export gvConnectionAt
func gvConnectionAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_connection) int64 {
	return call(c, func(e *engine) int64 {
		// A listing asks for 0, 1, 2 ... under one hold of the host's lock.
		if position == 0 {
			e.listing = e.listing[:0]
			for _, each := range e.slots {
				if each.socket != nil {
					e.listing = append(e.listing, each.socket.row())
				}
			}
			e.listing = append(e.listing, e.orphans()...)
		}
		if int(position) >= len(e.listing) {
			return 0
		}
		*out = e.listing[position]
		return 1
	})
}

func microseconds(d time.Duration) C.uint32_t { return C.uint32_t(d / time.Microsecond) }

//export gvTcpInfo
func gvTcpInfo(c *C.struct_ps_engine, handle C.int64_t, out *C.struct_ps_tcp_info) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		if s.kind != C.PS_STREAM {
			return negative(syscall.ENOPROTOOPT)
		}
		*out = C.struct_ps_tcp_info{state: stateOf(s.state())}
		within := look(s.endpoint)
		if within.sender == nil || within.receiver == nil {
			return 0
		}
		var info tcpip.TCPInfoOption
		if err := s.endpoint.GetSockOpt(&info); err != nil {
			return number(err)
		}
		sender, receiver := within.sender, within.receiver
		if within.inner.SendTSOk {
			out.options |= 1
		}
		if within.inner.SACKPermitted {
			out.options |= 2
		}
		if sender.SndWndScale != 0 || receiver.RcvWndScale != 0 {
			out.options |= 4
		}
		out.send_wscale = C.uint8_t(sender.SndWndScale)
		out.receive_wscale = C.uint8_t(receiver.RcvWndScale)
		out.rto_us = microseconds(info.RTO)
		out.rtt_us = microseconds(info.RTT)
		out.rttvar_us = microseconds(info.RTTVar)
		out.send_mss = C.uint32_t(sender.MaxPayloadSize)
		out.receive_mss = out.send_mss
		out.unacked_segments = C.uint32_t(sender.Outstanding)
		out.send_ssthresh = C.uint32_t(info.SndSsthresh)
		out.send_cwnd_bytes = C.uint32_t(sender.SndCwnd * sender.MaxPayloadSize)
		out.send_window = C.uint32_t(sender.SndWnd)
		out.receive_window = C.uint32_t(receiver.RcvNxt.Size(receiver.RcvAcc))
		if statistics, is := s.endpoint.Stats().(*tcp.Stats); is {
			out.total_retransmits = C.uint32_t(statistics.SendErrors.Retransmits.Value())
		}
		if local, err := s.endpoint.GetLocalAddress(); err == nil {
			for _, i := range s.engine.ordered() {
				if i.link != nil && i.find(local.Addr) != nil {
					out.pmtu = C.uint32_t(i.link.mtu)
				}
			}
		}
		return 0
	})
}
