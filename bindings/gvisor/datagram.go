package main

// #include "shim.h"
import "C"

import (
	"bytes"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"
)

// datagram is one that was read from netstack, to be looked at before it is taken.
type datagram struct {
	data   []byte
	result tcpip.ReadResult
	port   uint16 // that it came to
}

const largestDatagram = 65535

func (s *socket) connectDatagram(to *C.struct_ps_address) int64 {
	if to.family == C.PS_UNSPECIFIED {
		s.remote = nil
		if s.kind == C.PS_RAW {
			if err := s.endpoint.Disconnect(); err != nil {
				return s.renew(true)
			}
			return 0
		}
		return number(s.endpoint.Disconnect())
	}
	end := s.target(to)
	if s.kind == C.PS_RAW {
		end.Port = 0
	}
	if err := s.endpoint.Connect(end); err != nil {
		return negative(unrouted(err))
	}
	if s.kind == C.PS_RAW {
		end.Port = uint16(to.port)
		s.remote = &end
	}
	return 0
}

func (s *socket) shutdownDatagram(how uint32) int64 {
	s.shut |= how
	s.NotifyEvent(0)
	return number(s.endpoint.Shutdown(flagsOf(how)))
}

func (s *socket) datagramReady() uint32 {
	s.takeProblem()
	mask := uint32(C.PS_READY_WRITE | C.PS_READY_DRAINED)
	if s.peeked != nil || s.shut&C.PS_SHUT_READ != 0 ||
		s.endpoint.Readiness(waiter.ReadableEvents) != 0 {
		mask |= C.PS_READY_READ
	}
	if s.shut&C.PS_SHUT_READ != 0 {
		mask |= C.PS_READY_ENDED
	}
	if s.problem != 0 {
		mask |= C.PS_READY_ERROR
	}
	if s.shut == C.PS_SHUT_READ|C.PS_SHUT_WRITE {
		mask |= C.PS_READY_HANGUP
	}
	return mask
}

// take reads the next datagram from netstack.
func (s *socket) take() (*datagram, int64) {
	if waiting := s.peeked; waiting != nil {
		return waiting, 0
	}
	var data bytes.Buffer
	result, err := s.endpoint.Read(&data, tcpip.ReadOptions{NeedRemoteAddr: true})
	if err != nil {
		if _, closed := err.(*tcpip.ErrClosedForReceive); closed || s.shut&C.PS_SHUT_READ != 0 {
			return nil, negative(syscall.ESHUTDOWN)
		}
		return nil, number(err)
	}
	one := &datagram{data: data.Bytes(), result: result}
	if local, err := s.endpoint.GetLocalAddress(); err == nil && s.kind == C.PS_DATAGRAM {
		one.port = local.Port
	}
	return one, 0
}

func (s *socket) receiveDatagram(room *pieces, flags uint32, message *C.struct_ps_message) int64 {
	s.takeProblem()
	if s.problem != 0 {
		return s.raise()
	}
	one, result := s.take()
	if one == nil {
		return result
	}
	size, whole := room.Len(), len(one.data)
	if size > whole {
		size = whole
	}
	room.Write(one.data[:size])
	if message != nil {
		s.describe(one, message)
		if size < whole {
			message.flags |= C.PS_MSG_TRUNC
		}
	}
	s.peeked = nil
	if flags&C.PS_MSG_PEEK != 0 {
		s.peeked = one
	}
	if flags&C.PS_MSG_TRUNC != 0 {
		return int64(whole)
	}
	return int64(size)
}

func (s *socket) describe(one *datagram, message *C.struct_ps_message) {
	control := &one.result.ControlMessages
	from := one.result.RemoteAddr
	if s.kind == C.PS_RAW {
		from.Port = 0
	}
	setEnd(&message.from, from, s.family)
	to := tcpip.FullAddress{Port: one.port}
	if control.HasIPPacketInfo {
		to.Addr, to.NIC = control.PacketInfo.DestinationAddr, control.PacketInfo.NIC
	} else if control.HasIPv6PacketInfo {
		to.Addr, to.NIC = control.IPv6PacketInfo.Addr, control.IPv6PacketInfo.NIC
	}
	setEnd(&message.to, to, s.family)
	message._interface = C.uint32_t(to.NIC)
	switch {
	case control.HasTTL:
		message.ttl = C.uint8_t(control.TTL)
	case control.HasHopLimit:
		message.ttl = C.uint8_t(control.HopLimit)
	}
	switch {
	case control.HasTOS:
		message.tos = C.uint8_t(control.TOS)
	case control.HasTClass:
		message.tos = C.uint8_t(control.TClass)
	}
}

func (s *socket) sendDatagram(
	data *pieces, flags uint32, to *C.struct_ps_address, control *C.struct_ps_send_control,
) int64 {
	s.takeProblem()
	switch {
	case s.problem != 0:
		return s.raise()
	case s.shut&C.PS_SHUT_WRITE != 0:
		return negative(syscall.EPIPE)
	case flags&C.PS_MSG_OOB != 0:
		return negative(syscall.EOPNOTSUPP)
	case data.Len()+len(s.gathered) > largestDatagram:
		return negative(syscall.EMSGSIZE)
	}
	if s.gatheredTo != nil {
		to = s.gatheredTo
	}
	options := tcpip.WriteOptions{}
	if to != nil {
		if problem := s.accepts(to); problem != 0 {
			return negative(problem)
		}
		if to.port == 0 && s.kind == C.PS_DATAGRAM && s.protocol == syscall.IPPROTO_UDP {
			return negative(syscall.EINVAL)
		}
		end := s.target(to)
		options.To = &end
	}
	size := int64(data.Len())
	gather := s.kind == C.PS_DATAGRAM && s.protocol == syscall.IPPROTO_UDP
	if gather && (flags&C.PS_MSG_MORE != 0 || s.gathered != nil) {
		if s.gathered == nil && to != nil {
			kept := *to
			s.gatheredTo = &kept
		}
		part := make([]byte, size)
		data.Read(part)
		s.gathered = append(s.gathered, part...)
		if s.gathered == nil {
			s.gathered = []byte{}
		}
		if flags&C.PS_MSG_MORE != 0 {
			return size
		}
		whole := s.gathered
		s.gathered, s.gatheredTo = nil, nil
		if result := s.write(bytes.NewReader(whole), options, control); result < 0 {
			return result
		}
		return size
	}
	return s.write(data, options, control)
}

// write sends a datagram; settings in `control` override the socket's.
func (s *socket) write(
	data tcpip.Payloader, options tcpip.WriteOptions, control *C.struct_ps_send_control,
) int64 {
	restore, result := s.steer(&options, control)
	if result < 0 {
		return result
	}
	sent, err := s.endpoint.Write(data, options)
	restore()
	if err != nil {
		return negative(unrouted(err))
	}
	return sent
}

// steer puts into effect what is to differ for one datagram, and gives what undoes it.
func (s *socket) steer(
	options *tcpip.WriteOptions, control *C.struct_ps_send_control,
) (func(), int64) {
	nothing := func() {}
	if control == nil {
		return nothing, 0
	}
	if control.ttl >= 0 {
		options.ControlMessages.HasTTL = true
		options.ControlMessages.TTL = uint8(control.ttl)
		options.ControlMessages.HasHopLimit = true
		options.ControlMessages.HopLimit = uint8(control.ttl)
	}
	if control.source.family != C.PS_UNSPECIFIED || control._interface != 0 {
		if result := s.choosePath(options, control); result < 0 {
			return nothing, result
		}
	}
	if control.tos < 0 {
		return nothing, 0
	}
	before4, err4 := s.endpoint.GetSockOptInt(tcpip.IPv4TOSOption)
	before6, err6 := s.endpoint.GetSockOptInt(tcpip.IPv6TrafficClassOption)
	if err4 != nil || err6 != nil {
		return nothing, negative(syscall.EOPNOTSUPP)
	}
	s.endpoint.SetSockOptInt(tcpip.IPv4TOSOption, int(control.tos))
	s.endpoint.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(control.tos))
	return func() {
		s.endpoint.SetSockOptInt(tcpip.IPv4TOSOption, before4)
		s.endpoint.SetSockOptInt(tcpip.IPv6TrafficClassOption, before6)
	}, 0
}

// choosePath is for IP_PKTINFO and IPV6_PKTINFO. netstack lets a datagram choose its source in
// IPv6 only.
func (s *socket) choosePath(
	options *tcpip.WriteOptions, control *C.struct_ps_send_control,
) int64 {
	if control._interface != 0 && s.engine.interfaces[uint32(control._interface)] == nil {
		return negative(syscall.ENODEV)
	}
	var source tcpip.Address
	if control.source.family != C.PS_UNSPECIFIED {
		source, _ = ipOf(&control.source)
		if source.Unspecified() {
			source = ""
		}
	}
	destination := tcpip.FullAddress{}
	if options.To != nil {
		destination = *options.To
	} else if remote, err := s.endpoint.GetRemoteAddress(); err == nil {
		destination = remote
	}
	if s.network() == header.IPv6ProtocolNumber && len(destination.Addr) != header.IPv4AddressSize &&
		!header.IsV4MappedAddress(destination.Addr) {
		options.ControlMessages.HasIPv6PacketInfo = true
		options.ControlMessages.IPv6PacketInfo = tcpip.IPv6PacketInfo{
			Addr: source, NIC: tcpip.NICID(control._interface),
		}
		return 0
	}
	if source != "" {
		chosen := s.chosenSource(destination.Addr, tcpip.NICID(control._interface))
		if s.engine.stack.CheckLocalAddress(0, header.IPv4ProtocolNumber, source) == 0 {
			return negative(syscall.EINVAL)
		}
		if chosen != source {
			return negative(syscall.EOPNOTSUPP)
		}
	}
	if control._interface != 0 {
		if options.To == nil {
			options.To = &destination
		}
		options.To.NIC = tcpip.NICID(control._interface)
	}
	return 0
}

// chosenSource is the IPv4 address that netstack would send from.
func (s *socket) chosenSource(to tcpip.Address, nic tcpip.NICID) tcpip.Address {
	if local, err := s.endpoint.GetLocalAddress(); err == nil && local.Addr.To4() != "" {
		return local.Addr.To4()
	}
	found, err := s.engine.stack.FindRoute(nic, "", to.To4(), header.IPv4ProtocolNumber, false)
	if err != nil {
		return ""
	}
	defer found.Release()
	return found.LocalAddress()
}
