package main

// #include "shim.h"
import "C"

import (
	"syscall"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const mib = 1 << 20

// setting is something that can be tuned; apply puts the values, this one among them, into
// effect. One without it is asked for where it matters.
type setting struct {
	name                      string
	minimum, maximum, initial int64
	description               string
	apply                     func(e *engine, v *settings) tcpip.Error
}

// settings are the values, in the order of the table.
type settings struct{ values []int64 }

var table = []setting{
	{"net.ipv4.ip_default_ttl", 1, 255, 64, "Time to live of new sockets' packets", applyTTL},
	{"net.ipv4.ip_forward", 0, 1, 0, "Forward IPv4 packets between interfaces (RFC 1812)", applyForwarding},
	{"net.ipv6.conf.all.hop_limit", 1, 255, 64, "Hop limit of new sockets' packets", applyTTL},
	{"net.ipv6.conf.all.forwarding", 0, 1, 0, "Forward IPv6 packets between interfaces", applyForwarding},
	{"net.ipv4.ip_local_port_first", 1, 65535, 32768, "First port the stack chooses by itself", applyPorts},
	{"net.ipv4.ip_local_port_last", 1, 65535, 60999, "Last port the stack chooses by itself", applyPorts},
	{"net.ipv4.icmp_msgs_per_sec", 0, 1000000, 1000, "ICMP errors sent in a second, both families", applyICMP},
	{"net.ipv4.icmp_msgs_burst", 0, 1000000, 50, "ICMP errors sent at once, both families", applyICMP},
	{"net.ipv4.neigh.base_reachable_time_ms", 1, 3600000, 30000, "Milliseconds that an IPv4 neighbour counts as reachable", applyNeighbours},
	{"net.ipv4.neigh.retrans_time_ms", 1, 60000, 1000, "Milliseconds between ARP requests", applyNeighbours},
	{"net.ipv6.neigh.base_reachable_time_ms", 1, 3600000, 30000, "Milliseconds that a neighbour counts as reachable (RFC 4861 10)", applyNeighbours},
	{"net.ipv6.neigh.retrans_time_ms", 1, 60000, 1000, "Milliseconds between neighbour solicitations (RFC 4861 10)", applyNeighbours},
	{"net.ipv4.tcp_rto_min_ms", 1, 120000, 200, "Least retransmission timeout", applyRTO},
	{"net.ipv4.tcp_rto_max_ms", 1, 120000, 120000, "Largest retransmission timeout", applyRTO},
	{"net.ipv4.tcp_keepalive_time", 1, 32767, 7200, "Idle seconds before the first keepalive probe (RFC 9293 3.8.4)", nil},
	{"net.ipv4.tcp_keepalive_intvl", 1, 32767, 75, "Seconds between keepalive probes", nil},
	{"net.ipv4.tcp_keepalive_probes", 1, 127, 9, "Unanswered probes that end a connection", nil},
	{"net.ipv4.tcp_retries2", 1, 255, 15, "Retransmissions before a connection is given up", applyRetries},
	{"net.ipv4.tcp_msl_ms", 1, 600000, 30000, "Maximum segment lifetime; TIME-WAIT lasts two of them (RFC 9293 3.4.1)", applyWaits},
	{"net.ipv4.tcp_fin_timeout_ms", 1, 120000, 60000, "How long a closed socket waits in FIN-WAIT-2", applyWaits},
	{"net.ipv4.tcp_tw_reuse", 0, 2, 2, "New connections may take a TIME-WAIT's port: 0 never, 1 always, 2 on the loopback", applyWaits},
	{"net.ipv4.tcp_syncookies", 1, 2, 1, "SYN cookies (RFC 4987 3.6): 1 when a backlog is full, 2 always", applyTCP},
	{"net.core.somaxconn", 1, 65535, 4096, "Largest backlog of listen()", nil},
	{"net.ipv4.tcp_rmem_default", 4096, 16 * mib, mib, "Receive buffer of a new socket, bytes; the window is half of it", applyBuffers},
	{"net.ipv4.tcp_rmem_max", 4096, 64 * mib, 8 * mib, "Largest SO_RCVBUF of a TCP socket, bytes", applyBuffers},
	{"net.ipv4.tcp_wmem_default", 4096, 16 * mib, mib, "Send buffer of a new socket, bytes", applyBuffers},
	{"net.ipv4.tcp_wmem_max", 4096, 64 * mib, 8 * mib, "Largest SO_SNDBUF of a TCP socket, bytes", applyBuffers},
	{"net.ipv4.tcp_moderate_rcvbuf", 0, 1, 1, "Let the receive buffer grow with the connection", applyTCP},
	{"net.ipv4.tcp_sack", 0, 1, 1, "Offer and accept selective acknowledgements (RFC 2018)", applyTCP},
	{"net.ipv4.tcp_recovery", 0, 7, 1, "Find losses by time (RFC 8985): bits as in Linux, 0 never", applyTCP},
	{"net.ipv4.tcp_cubic", 0, 1, 0, "Congestion control: 0 Reno (RFC 5681), 1 CUBIC (RFC 9438)", applyTCP},
	{"net.core.rmem_default", 4096, 64 * mib, 212992, "Receive buffer of a new UDP or raw socket, bytes", applyBuffers},
	{"net.core.wmem_default", 4096, 64 * mib, 212992, "Send buffer of a new UDP or raw socket, bytes", applyBuffers},
	{"net.core.mem_max", 4096, 64 * mib, 4 * mib, "Largest buffer of a UDP or raw socket, bytes", applyBuffers},
}

var places = map[string]int{}

func init() {
	for place, each := range table {
		places[each.name] = place
	}
}

func initialSettings() settings {
	s := settings{}
	for _, each := range table {
		s.values = append(s.values, each.initial)
	}
	return s
}

func (s *settings) get(name string) int64 { return s.values[places[name]] }

func (s *settings) milliseconds(name string) time.Duration {
	return time.Duration(s.get(name)) * time.Millisecond
}

// consistent checks what no single bound can say.
func (s *settings) consistent() bool {
	for _, pair := range [][2]string{
		{"net.ipv4.ip_local_port_first", "net.ipv4.ip_local_port_last"},
		{"net.ipv4.tcp_rto_min_ms", "net.ipv4.tcp_rto_max_ms"},
		{"net.ipv4.tcp_rmem_default", "net.ipv4.tcp_rmem_max"},
		{"net.ipv4.tcp_wmem_default", "net.ipv4.tcp_wmem_max"},
		{"net.core.rmem_default", "net.core.mem_max"},
		{"net.core.wmem_default", "net.core.mem_max"},
	} {
		if s.get(pair[0]) > s.get(pair[1]) {
			return false
		}
	}
	return true
}

func (s *settings) applyAll(e *engine) {
	for _, each := range table {
		if each.apply == nil {
			continue
		}
		if err := each.apply(e, s); err != nil {
			panic("netstack refuses the initial " + each.name + ": " + err.String())
		}
	}
}

func applyTTL(e *engine, v *settings) tcpip.Error {
	ttl := tcpip.DefaultTTLOption(v.get("net.ipv4.ip_default_ttl"))
	hops := tcpip.DefaultTTLOption(v.get("net.ipv6.conf.all.hop_limit"))
	if err := e.stack.SetNetworkProtocolOption(header.IPv4ProtocolNumber, &ttl); err != nil {
		return err
	}
	return e.stack.SetNetworkProtocolOption(header.IPv6ProtocolNumber, &hops)
}

func applyForwarding(e *engine, v *settings) tcpip.Error {
	if err := e.stack.SetForwardingDefaultAndAllNICs(
		header.IPv4ProtocolNumber, v.get("net.ipv4.ip_forward") != 0); err != nil {
		return err
	}
	return e.stack.SetForwardingDefaultAndAllNICs(
		header.IPv6ProtocolNumber, v.get("net.ipv6.conf.all.forwarding") != 0)
}

func applyPorts(e *engine, v *settings) tcpip.Error {
	return e.stack.SetPortRange(
		uint16(v.get("net.ipv4.ip_local_port_first")), uint16(v.get("net.ipv4.ip_local_port_last")))
}

func applyICMP(e *engine, v *settings) tcpip.Error {
	e.stack.SetICMPLimit(rate.Limit(v.get("net.ipv4.icmp_msgs_per_sec")))
	e.stack.SetICMPBurst(int(v.get("net.ipv4.icmp_msgs_burst")))
	return nil
}

func applyNeighbours(e *engine, v *settings) tcpip.Error {
	for _, i := range e.ordered() {
		v.applyInterface(e, i)
	}
	return nil
}

// applyInterface applies neighbour discovery's settings, which netstack keeps per interface.
func (s *settings) applyInterface(e *engine, i *netInterface) {
	if !i.ethernet() {
		return
	}
	for protocol, family := range map[tcpip.NetworkProtocolNumber]string{
		header.IPv4ProtocolNumber: "net.ipv4", header.IPv6ProtocolNumber: "net.ipv6",
	} {
		configuration := stack.DefaultNUDConfigurations()
		configuration.BaseReachableTime = s.milliseconds(family + ".neigh.base_reachable_time_ms")
		configuration.RetransmitTimer = s.milliseconds(family + ".neigh.retrans_time_ms")
		if err := e.stack.SetNUDConfigurations(i.id(), protocol, configuration); err != nil {
			panic("neighbour discovery can't be tuned: " + err.String())
		}
	}
}

// setTCP sets options of the protocol until one is refused.
func setTCP(e *engine, options ...tcpip.SettableTransportProtocolOption) tcpip.Error {
	for _, option := range options {
		if err := e.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return err
		}
	}
	return nil
}

func applyRTO(e *engine, v *settings) tcpip.Error {
	least := tcpip.TCPMinRTOOption(v.milliseconds("net.ipv4.tcp_rto_min_ms"))
	most := tcpip.TCPMaxRTOOption(v.milliseconds("net.ipv4.tcp_rto_max_ms"))
	// Each is checked against the other as it is: out of the way first.
	anything := tcpip.TCPMinRTOOption(0)
	return setTCP(e, &anything, &most, &least)
}

func applyRetries(e *engine, v *settings) tcpip.Error {
	data := tcpip.TCPMaxRetriesOption(v.get("net.ipv4.tcp_retries2"))
	return setTCP(e, &data)
}

func applyWaits(e *engine, v *settings) tcpip.Error {
	timeWait := tcpip.TCPTimeWaitTimeoutOption(2 * v.milliseconds("net.ipv4.tcp_msl_ms"))
	finWait := tcpip.TCPLingerTimeoutOption(v.milliseconds("net.ipv4.tcp_fin_timeout_ms"))
	reuse := tcpip.TCPTimeWaitReuseOption(v.get("net.ipv4.tcp_tw_reuse"))
	return setTCP(e, &timeWait, &finWait, &reuse)
}

func applyTCP(e *engine, v *settings) tcpip.Error {
	cookies := tcpip.TCPAlwaysUseSynCookies(v.get("net.ipv4.tcp_syncookies") == 2)
	moderate := tcpip.TCPModerateReceiveBufferOption(v.get("net.ipv4.tcp_moderate_rcvbuf") != 0)
	sack := tcpip.TCPSACKEnabled(v.get("net.ipv4.tcp_sack") != 0)
	recovery := tcpip.TCPRecovery(v.get("net.ipv4.tcp_recovery"))
	congestion := tcpip.CongestionControlOption("reno")
	if v.get("net.ipv4.tcp_cubic") != 0 {
		congestion = "cubic"
	}
	nagle := tcpip.TCPDelayEnabled(true) // netstack's own default is off
	return setTCP(e, &cookies, &moderate, &sack, &recovery, &congestion, &nagle)
}

func applyBuffers(e *engine, v *settings) tcpip.Error {
	most := int(v.get("net.core.mem_max"))
	if err := e.stack.SetOption(tcpip.SendBufferSizeOption{
		Min: stack.MinBufferSize, Default: int(v.get("net.core.wmem_default")), Max: most,
	}); err != nil {
		return err
	}
	if err := e.stack.SetOption(tcpip.ReceiveBufferSizeOption{
		Min: stack.MinBufferSize, Default: int(v.get("net.core.rmem_default")), Max: most,
	}); err != nil {
		return err
	}
	return setTCP(e,
		&tcpip.TCPSendBufferSizeRangeOption{
			Min: tcp.MinBufferSize, Default: int(v.get("net.ipv4.tcp_wmem_default")),
			Max: int(v.get("net.ipv4.tcp_wmem_max")),
		},
		&tcpip.TCPReceiveBufferSizeRangeOption{
			Min: tcp.MinBufferSize, Default: int(v.get("net.ipv4.tcp_rmem_default")),
			Max: int(v.get("net.ipv4.tcp_rmem_max")),
		})
}

// applySocket gives a new socket what netstack has no setting of the stack's for.
func (s *settings) applySocket(endpoint tcpip.Endpoint, kind C.uint8_t) {
	if kind != C.PS_STREAM {
		return
	}
	second := int64(time.Second)
	idle := tcpip.KeepaliveIdleOption(s.get("net.ipv4.tcp_keepalive_time") * second)
	interval := tcpip.KeepaliveIntervalOption(s.get("net.ipv4.tcp_keepalive_intvl") * second)
	endpoint.SetSockOpt(&idle)
	endpoint.SetSockOpt(&interval)
	endpoint.SetSockOptInt(
		tcpip.KeepaliveCountOption, int(s.get("net.ipv4.tcp_keepalive_probes")))
}

func (s *settings) describe(place int, out *C.struct_ps_tunable) {
	each := table[place]
	*out = C.struct_ps_tunable{
		value:   C.int64_t(s.values[place]),
		minimum: C.int64_t(each.minimum),
		maximum: C.int64_t(each.maximum),
		initial: C.int64_t(each.initial),
	}
	setText(out.name[:], each.name)
	setText(out.description[:], each.description)
}

//export gvTunableAt
func gvTunableAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_tunable) int64 {
	return call(c, func(e *engine) int64 {
		if int(position) >= len(table) {
			return 0
		}
		e.settings.describe(int(position), out)
		return 1
	})
}

//export gvTunableGet
func gvTunableGet(c *C.struct_ps_engine, name *C.char, out *C.struct_ps_tunable) int64 {
	return call(c, func(e *engine) int64 {
		if C.GoString(name) == actsAloneName {
			e.describeActs(out)
			return 0
		}
		place, known := places[C.GoString(name)]
		if !known {
			return negative(syscall.ENOENT)
		}
		e.settings.describe(place, out)
		return 0
	})
}

//export gvTunableSet
func gvTunableSet(c *C.struct_ps_engine, name *C.char, value C.int64_t) int64 {
	return call(c, func(e *engine) int64 {
		place, known := places[C.GoString(name)]
		if !known {
			return negative(syscall.ENOENT)
		}
		each := table[place]
		wanted := settings{append([]int64(nil), e.settings.values...)}
		wanted.values[place] = int64(value)
		if int64(value) < each.minimum || int64(value) > each.maximum || !wanted.consistent() {
			return negative(syscall.EINVAL)
		}
		if each.apply != nil {
			if err := each.apply(e, &wanted); err != nil {
				return number(err)
			}
		}
		e.settings = wanted
		return 0
	})
}
