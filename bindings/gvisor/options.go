package main

// #include "shim.h"
import "C"

import (
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// inherited are the options that a connection has from its listener.
var inherited = map[C.enum_ps_option]bool{
	C.PS_OPT_REUSEADDR: true, C.PS_OPT_REUSEPORT: true, C.PS_OPT_KEEPALIVE: true,
	C.PS_OPT_SNDBUF: true, C.PS_OPT_RCVBUF: true, C.PS_OPT_RCVLOWAT: true,
	C.PS_OPT_LINGER: true, C.PS_OPT_PRIORITY: true, C.PS_OPT_TCP_NODELAY: true,
	C.PS_OPT_TCP_KEEPIDLE: true, C.PS_OPT_TCP_KEEPINTVL: true, C.PS_OPT_TCP_KEEPCNT: true,
	C.PS_OPT_TCP_USER_TIMEOUT: true, C.PS_OPT_IP_TTL: true, C.PS_OPT_IP_TOS: true,
	C.PS_OPT_IPV6_UNICAST_HOPS: true, C.PS_OPT_IPV6_TCLASS: true,
}

// remembered are options that have no effect, and say what they were set to.
var remembered = map[C.enum_ps_option]bool{
	C.PS_OPT_OOBINLINE: true, C.PS_OPT_DONTROUTE: true, C.PS_OPT_PRIORITY: true,
}

// flag is an option of all sockets that is on or off.
type flag struct {
	get func(*tcpip.SocketOptions) bool
	set func(*tcpip.SocketOptions, bool)
}

var flags = map[C.enum_ps_option]flag{
	C.PS_OPT_REUSEADDR: {(*tcpip.SocketOptions).GetReuseAddress, (*tcpip.SocketOptions).SetReuseAddress},
	C.PS_OPT_REUSEPORT: {(*tcpip.SocketOptions).GetReusePort, (*tcpip.SocketOptions).SetReusePort},
	C.PS_OPT_BROADCAST: {(*tcpip.SocketOptions).GetBroadcast, (*tcpip.SocketOptions).SetBroadcast},
}

var streamFlags = map[C.enum_ps_option]flag{
	C.PS_OPT_KEEPALIVE:    {(*tcpip.SocketOptions).GetKeepAlive, (*tcpip.SocketOptions).SetKeepAlive},
	C.PS_OPT_TCP_QUICKACK: {(*tcpip.SocketOptions).GetQuickAck, (*tcpip.SocketOptions).SetQuickAck},
	C.PS_OPT_TCP_CORK:     {(*tcpip.SocketOptions).GetCorkOption, (*tcpip.SocketOptions).SetCorkOption},
	C.PS_OPT_TCP_NODELAY: {
		func(o *tcpip.SocketOptions) bool { return !o.GetDelayOption() },
		func(o *tcpip.SocketOptions, on bool) { o.SetDelayOption(!on) },
	},
}

var datagramFlags = map[C.enum_ps_option]flag{
	C.PS_OPT_IP_MULTICAST_LOOP:   {(*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
	C.PS_OPT_IPV6_MULTICAST_LOOP: {(*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
}

func (s *socket) flag(option C.enum_ps_option) (flag, bool) {
	if f, known := flags[option]; known {
		return f, true
	}
	of := datagramFlags
	if s.kind == C.PS_STREAM {
		of = streamFlags
	}
	f, known := of[option]
	return f, known
}

func number64(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

func (s *socket) isOption6(option C.enum_ps_option) bool {
	return option >= C.PS_OPT_IPV6_V6ONLY && option <= C.PS_OPT_IPV6_CHECKSUM
}

func (s *socket) getOption(option C.enum_ps_option) (int64, int64) {
	options := s.endpoint.SocketOptions()
	if s.isOption6(option) && s.family != C.PS_INET6 {
		return 0, negative(syscall.ENOPROTOOPT)
	}
	if f, known := s.flag(option); known {
		return number64(f.get(options)), 0
	}
	if remembered[option] {
		return s.chosen[option], 0
	}
	switch option {
	case C.PS_OPT_ERROR:
		s.takeProblem()
		return -s.raise(), 0
	case C.PS_OPT_TYPE:
		return int64(s.kind), 0
	case C.PS_OPT_PROTOCOL:
		return int64(s.protocol), 0
	case C.PS_OPT_FAMILY:
		return int64(s.family), 0
	case C.PS_OPT_SNDBUF:
		return options.GetSendBufferSize(), 0
	case C.PS_OPT_RCVBUF:
		return options.GetReceiveBufferSize(), 0
	case C.PS_OPT_RCVLOWAT:
		return int64(s.lowWater()), 0
	case C.PS_OPT_LINGER:
		if value, set := s.chosen[option]; set {
			return value, 0
		}
		return -1, 0
	case C.PS_OPT_BINDTODEVICE:
		return int64(options.GetBindToDevice()), 0
	case C.PS_OPT_IPV6_V6ONLY:
		return number64(options.GetV6Only()), 0
	case C.PS_OPT_IP_TTL:
		return s.hops(tcpip.IPv4TTLOption, "net.ipv4.ip_default_ttl")
	case C.PS_OPT_IPV6_UNICAST_HOPS:
		return s.hops(tcpip.IPv6HopLimitOption, "net.ipv6.conf.all.hop_limit")
	case C.PS_OPT_IP_TOS:
		return s.intOption(tcpip.IPv4TOSOption)
	case C.PS_OPT_IPV6_TCLASS:
		return s.intOption(tcpip.IPv6TrafficClassOption)
	}
	if s.kind == C.PS_STREAM {
		return s.getStreamOption(option)
	}
	return s.getDatagramOption(option)
}

func (s *socket) intOption(option tcpip.SockOptInt) (int64, int64) {
	value, err := s.endpoint.GetSockOptInt(option)
	if err != nil {
		return 0, number(err)
	}
	return int64(value), 0
}

// hops gives a time to live; the stack's own where the socket has none.
func (s *socket) hops(option tcpip.SockOptInt, setting string) (int64, int64) {
	value, result := s.intOption(option)
	none := int64(tcpip.UseDefaultIPv4TTL)
	if option == tcpip.IPv6HopLimitOption {
		none = tcpip.UseDefaultIPv6HopLimit
	}
	if result == 0 && value == none {
		value = s.engine.settings.get(setting)
	}
	return value, result
}

func (s *socket) getStreamOption(option C.enum_ps_option) (int64, int64) {
	switch option {
	case C.PS_OPT_LISTENING:
		return number64(s.state() == tcp.StateListen), 0
	case C.PS_OPT_TCP_MAXSEG:
		if sender := look(s.endpoint).sender; sender != nil {
			return int64(sender.MaxPayloadSize), 0
		}
		return header.TCPDefaultMSS, 0
	case C.PS_OPT_TCP_KEEPIDLE:
		var value tcpip.KeepaliveIdleOption
		err := s.endpoint.GetSockOpt(&value)
		return int64(time.Duration(value) / time.Second), number(err)
	case C.PS_OPT_TCP_KEEPINTVL:
		var value tcpip.KeepaliveIntervalOption
		err := s.endpoint.GetSockOpt(&value)
		return int64(time.Duration(value) / time.Second), number(err)
	case C.PS_OPT_TCP_KEEPCNT:
		return s.intOption(tcpip.KeepaliveCountOption)
	case C.PS_OPT_TCP_USER_TIMEOUT:
		var value tcpip.TCPUserTimeoutOption
		err := s.endpoint.GetSockOpt(&value)
		return int64(time.Duration(value) / time.Millisecond), number(err)
	case C.PS_OPT_TCP_DEFER_ACCEPT:
		var value tcpip.TCPDeferAcceptOption
		err := s.endpoint.GetSockOpt(&value)
		return int64(time.Duration(value) / time.Second), number(err)
	case C.PS_OPT_BYTES_QUEUED, C.PS_OPT_BYTES_UNSENT:
		if s.state() == tcp.StateListen {
			return 0, negative(syscall.EINVAL)
		}
		if option == C.PS_OPT_BYTES_UNSENT {
			return int64(look(s.endpoint).sending.SndBufUsed), 0
		}
		return int64(look(s.endpoint).receiving.RcvBufUsed), 0
	}
	return 0, negative(syscall.ENOPROTOOPT)
}

func (s *socket) getDatagramOption(option C.enum_ps_option) (int64, int64) {
	switch option {
	case C.PS_OPT_LISTENING, C.PS_OPT_BYTES_UNSENT:
		return 0, 0
	case C.PS_OPT_KEEPALIVE:
		return s.chosen[option], 0
	case C.PS_OPT_BYTES_QUEUED:
		if s.peeked != nil {
			return int64(len(s.peeked.data)), 0
		}
		return s.intOption(tcpip.ReceiveQueueSizeOption)
	case C.PS_OPT_IP_MULTICAST_TTL, C.PS_OPT_IPV6_MULTICAST_HOPS:
		return s.intOption(tcpip.MulticastTTLOption)
	case C.PS_OPT_IP_MULTICAST_IF, C.PS_OPT_IPV6_MULTICAST_IF:
		var value tcpip.MulticastInterfaceOption
		err := s.endpoint.GetSockOpt(&value)
		return int64(value.NIC), number(err)
	case C.PS_OPT_IP_HDRINCL:
		if s.kind == C.PS_RAW {
			return number64(s.endpoint.SocketOptions().GetHeaderIncluded()), 0
		}
	case C.PS_OPT_IPV6_CHECKSUM:
		if s.kind == C.PS_RAW {
			return s.intOption(tcpip.IPv6Checksum)
		}
	}
	return 0, negative(syscall.ENOPROTOOPT)
}

//export gvOptionGet
func gvOptionGet(
	c *C.struct_ps_engine, handle C.int64_t, option C.enum_ps_option, value *C.int64_t,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		found, result := s.getOption(option)
		if result == 0 {
			*value = C.int64_t(found)
		}
		return result
	})
}

//export gvOptionSet
func gvOptionSet(
	c *C.struct_ps_engine, handle C.int64_t, option C.enum_ps_option, value C.int64_t,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		result := s.setOption(option, int64(value))
		if result == 0 {
			s.chosen[option] = int64(value)
		}
		return result
	})
}

func (s *socket) setOption(option C.enum_ps_option, value int64) int64 {
	options := s.endpoint.SocketOptions()
	if s.isOption6(option) && s.family != C.PS_INET6 {
		return negative(syscall.ENOPROTOOPT)
	}
	if f, known := s.flag(option); known {
		f.set(options, value != 0)
		return 0
	}
	if remembered[option] {
		return 0
	}
	switch option {
	case C.PS_OPT_SNDBUF:
		least, most := options.SendBufferLimits()
		options.SetSendBufferSize(within(value, least, most), true)
		return 0
	case C.PS_OPT_RCVBUF:
		least, most := options.ReceiveBufferLimits()
		options.SetReceiveBufferSize(within(value, least, most), true)
		return 0
	case C.PS_OPT_RCVLOWAT:
		return 0 // asked for where readiness is told
	case C.PS_OPT_LINGER:
		// The waiting is done above us; that no time is left to wait is netstack's business.
		options.SetLinger(tcpip.LingerOption{
			Enabled: value >= 0, Timeout: time.Duration(value) * time.Second,
		})
		return 0
	case C.PS_OPT_BINDTODEVICE:
		if value != 0 && (value < 0 || s.engine.interfaces[uint32(value)] == nil) {
			return negative(syscall.ENODEV)
		}
		return number(options.SetBindToDevice(int32(value)))
	case C.PS_OPT_IPV6_V6ONLY:
		if s.kind == C.PS_RAW || (s.kind == C.PS_STREAM && !isFresh(s.state())) || s.bound != nil {
			return negative(syscall.EINVAL)
		}
		options.SetV6Only(value != 0)
		return 0
	case C.PS_OPT_IP_TTL:
		if value == -1 {
			value = tcpip.UseDefaultIPv4TTL
		} else if value < 1 || value > 255 {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.IPv4TTLOption, int(value)))
	case C.PS_OPT_IPV6_UNICAST_HOPS:
		if value < -1 || value > 255 {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.IPv6HopLimitOption, int(value)))
	case C.PS_OPT_IP_TOS:
		return number(s.endpoint.SetSockOptInt(tcpip.IPv4TOSOption, int(value)&0xff))
	case C.PS_OPT_IPV6_TCLASS:
		if value < -1 || value > 255 {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(within(value, 0, 255))))
	}
	if s.kind == C.PS_STREAM {
		return s.setStreamOption(option, value)
	}
	return s.setDatagramOption(option, value)
}

func within(value, least, most int64) int64 {
	if value < least {
		return least
	}
	if value > most {
		return most
	}
	return value
}

func (s *socket) setStreamOption(option C.enum_ps_option, value int64) int64 {
	// Linux bounds these times to what its 16 bits of seconds can say.
	outside := value < 1 || value > 32767
	switch option {
	case C.PS_OPT_TCP_MAXSEG:
		return number(s.endpoint.SetSockOptInt(tcpip.MaxSegOption, int(value)))
	case C.PS_OPT_TCP_KEEPIDLE:
		if outside {
			return negative(syscall.EINVAL)
		}
		wanted := tcpip.KeepaliveIdleOption(time.Duration(value) * time.Second)
		return number(s.endpoint.SetSockOpt(&wanted))
	case C.PS_OPT_TCP_KEEPINTVL:
		if outside {
			return negative(syscall.EINVAL)
		}
		wanted := tcpip.KeepaliveIntervalOption(time.Duration(value) * time.Second)
		return number(s.endpoint.SetSockOpt(&wanted))
	case C.PS_OPT_TCP_KEEPCNT:
		if value < 1 || value > 127 {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.KeepaliveCountOption, int(value)))
	case C.PS_OPT_TCP_USER_TIMEOUT:
		if value < 0 {
			return negative(syscall.EINVAL)
		}
		wanted := tcpip.TCPUserTimeoutOption(time.Duration(value) * time.Millisecond)
		return number(s.endpoint.SetSockOpt(&wanted))
	case C.PS_OPT_TCP_DEFER_ACCEPT:
		wanted := tcpip.TCPDeferAcceptOption(time.Duration(within(value, 0, 32767)) * time.Second)
		return number(s.endpoint.SetSockOpt(&wanted))
	}
	return negative(syscall.ENOPROTOOPT)
}

func (s *socket) setDatagramOption(option C.enum_ps_option, value int64) int64 {
	switch option {
	case C.PS_OPT_KEEPALIVE:
		return 0 // without a meaning, and allowed by Linux
	case C.PS_OPT_IP_MULTICAST_TTL, C.PS_OPT_IPV6_MULTICAST_HOPS:
		if value == -1 {
			value = 1
		}
		if value < 0 || value > 255 {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.MulticastTTLOption, int(value)))
	case C.PS_OPT_IP_MULTICAST_IF, C.PS_OPT_IPV6_MULTICAST_IF:
		if value < 0 || value > mostIndex {
			return negative(syscall.EINVAL)
		}
		if value != 0 && s.engine.interfaces[uint32(value)] == nil {
			return negative(syscall.ENODEV)
		}
		return number(s.endpoint.SetSockOpt(
			&tcpip.MulticastInterfaceOption{NIC: tcpip.NICID(value)}))
	case C.PS_OPT_IP_HDRINCL:
		if s.kind != C.PS_RAW {
			break
		}
		s.endpoint.SocketOptions().SetHeaderIncluded(value != 0)
		return 0
	case C.PS_OPT_IPV6_CHECKSUM:
		if s.kind != C.PS_RAW {
			break
		}
		if value > 65535 || (value >= 0 && value%2 != 0) {
			return negative(syscall.EINVAL)
		}
		return number(s.endpoint.SetSockOptInt(tcpip.IPv6Checksum, int(within(value, -1, 65535))))
	}
	return negative(syscall.ENOPROTOOPT)
}

//export gvMembership
func gvMembership(
	c *C.struct_ps_engine, handle C.int64_t, join bool, wanted *C.struct_ps_membership,
) int64 {
	return withSocket(c, handle, func(s *socket) int64 {
		group, known := ipOf(&wanted.group)
		switch {
		case s.kind == C.PS_STREAM || (s.family == C.PS_INET && wanted.group.family == C.PS_INET6):
			return negative(syscall.ENOPROTOOPT)
		case !known || !isMulticast(group):
			return negative(syscall.EINVAL)
		case wanted.source.family != C.PS_UNSPECIFIED:
			return negative(syscall.EOPNOTSUPP) // netstack has no filter by source
		case wanted._interface != 0 && s.engine.interfaces[uint32(wanted._interface)] == nil:
			return negative(syscall.ENODEV)
		case protocolOf(group) != s.network():
			return negative(syscall.EOPNOTSUPP) // an IPv4 group on an IPv6 socket
		}
		nic := tcpip.NICID(wanted._interface)
		if join {
			return number(s.endpoint.SetSockOpt(
				&tcpip.AddMembershipOption{NIC: nic, MulticastAddr: group}))
		}
		return number(s.endpoint.SetSockOpt(
			&tcpip.RemoveMembershipOption{NIC: nic, MulticastAddr: group}))
	})
}
