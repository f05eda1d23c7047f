package main

// #include "shim.h"
import "C"

import (
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// counter is one of the stack's, by a name in the manner of the MIBs.
type counter struct {
	name string
	of   func(s *tcpip.Stats) *tcpip.StatCounter
}

var stackCounters = []counter{
	{"ip.in_receives", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.PacketsReceived }},
	{"ip.in_header_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.MalformedPacketsReceived }},
	{"ip.in_address_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.InvalidDestinationAddressesReceived }},
	{"ip.in_source_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.InvalidSourceAddressesReceived }},
	{"ip.in_delivers", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.PacketsDelivered }},
	{"ip.out_requests", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.PacketsSent }},
	{"ip.out_discards", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.OutgoingPacketErrors }},
	{"ip.reassembly_failures", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.MalformedFragmentsReceived }},
	{"ip.forward_no_routes", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.Forwarding.Unrouteable }},
	{"ip.forward_time_exceeded", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.Forwarding.ExhaustedTTL }},
	{"ip.forward_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.IP.Forwarding.Errors }},
	{"icmp.in_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.Invalid }},
	{"icmp.in_destination_unreachable", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.DstUnreachable }},
	{"icmp.in_time_exceeded", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.TimeExceeded }},
	{"icmp.in_parameter_problems", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.ParamProblem }},
	{"icmp.in_redirects", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.Redirect }},
	{"icmp.in_echos", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.EchoRequest }},
	{"icmp.in_echo_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsReceived.EchoReply }},
	{"icmp.out_destination_unreachable", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsSent.DstUnreachable }},
	{"icmp.out_time_exceeded", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsSent.TimeExceeded }},
	{"icmp.out_echo_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsSent.EchoReply }},
	{"icmp.out_rate_limited", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V4.PacketsSent.RateLimited }},
	{"icmp6.in_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.Invalid }},
	{"icmp6.in_destination_unreachable", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.DstUnreachable }},
	{"icmp6.in_packet_too_big", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.PacketTooBig }},
	{"icmp6.in_time_exceeded", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.TimeExceeded }},
	{"icmp6.in_echos", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.EchoRequest }},
	{"icmp6.in_echo_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.EchoReply }},
	{"icmp6.in_router_advertisements", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.RouterAdvert }},
	{"icmp6.in_neighbour_solicitations", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.NeighborSolicit }},
	{"icmp6.in_neighbour_advertisements", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsReceived.NeighborAdvert }},
	{"icmp6.out_neighbour_solicitations", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsSent.NeighborSolicit }},
	{"icmp6.out_neighbour_advertisements", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsSent.NeighborAdvert }},
	{"icmp6.out_echo_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ICMP.V6.PacketsSent.EchoReply }},
	{"arp.in_packets", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.PacketsReceived }},
	{"arp.in_header_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.MalformedPacketsReceived }},
	{"arp.in_requests", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.RequestsReceived }},
	{"arp.in_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.RepliesReceived }},
	{"arp.out_requests", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.OutgoingRequestsSent }},
	{"arp.out_replies", func(s *tcpip.Stats) *tcpip.StatCounter { return s.ARP.OutgoingRepliesSent }},
	{"udp.in_datagrams", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.PacketsReceived }},
	{"udp.no_ports", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.UnknownPortErrors }},
	{"udp.in_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.MalformedPacketsReceived }},
	{"udp.in_checksum_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.ChecksumErrors }},
	{"udp.in_discards", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.ReceiveBufferErrors }},
	{"udp.out_datagrams", func(s *tcpip.Stats) *tcpip.StatCounter { return s.UDP.PacketsSent }},
	{"tcp.active_opens", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ActiveConnectionOpenings }},
	{"tcp.passive_opens", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.PassiveConnectionOpenings }},
	{"tcp.attempt_failures", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.FailedConnectionAttempts }},
	{"tcp.established_resets", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.EstablishedResets }},
	{"tcp.in_segments", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ValidSegmentsReceived }},
	{"tcp.in_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.InvalidSegmentsReceived }},
	{"tcp.in_checksum_errors", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ChecksumErrors }},
	{"tcp.in_resets", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ResetsReceived }},
	{"tcp.out_segments", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.SegmentsSent }},
	{"tcp.out_resets", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ResetsSent }},
	{"tcp.retransmitted_segments", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.Retransmits }},
	{"tcp.fast_retransmissions", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.FastRetransmit }},
	{"tcp.timeouts", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.Timeouts }},
	{"tcp.fast_recoveries", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.FastRecovery }},
	{"tcp.sack_recoveries", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.SACKRecovery }},
	{"tcp.tail_loss_probes_that_helped", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.TLPRecovery }},
	{"tcp.spurious_recoveries", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.SpuriousRecovery }},
	{"tcp.listen_overflows", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ListenOverflowSynDrop }},
	{"tcp.syncookies_sent", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ListenOverflowSynCookieSent }},
	{"tcp.syncookies_received", func(s *tcpip.Stats) *tcpip.StatCounter { return s.TCP.ListenOverflowSynCookieRcvd }},
}

type named struct {
	name  string
	value uint64
}

func (e *engine) interfaceCounters(i *netInterface) []named {
	info := e.stack.NICInfo()[i.id()].Stats
	if i.link == nil {
		return []named{
			{"in_octets", info.Rx.Bytes.Value()},
			{"in_unicast_packets", info.Rx.Packets.Value()},
			{"out_octets", info.Tx.Bytes.Value()},
			{"out_unicast_packets", info.Tx.Packets.Value()},
		}
	}
	own := i.link.counters
	return []named{
		{"in_octets", own.inOctets},
		{"in_unicast_packets", own.inUnicast},
		{"in_group_packets", own.inGroup},
		{"in_discards", info.DisabledRx.Packets.Value()},
		{"in_errors", own.inErrors},
		{"out_octets", own.outOctets},
		{"out_unicast_packets", own.outUnicast},
		{"out_group_packets", own.outGroup},
		{"out_discards", info.TxPacketsDroppedNoBufferSpace.Value()},
	}
}

//export gvCounterAt
func gvCounterAt(
	c *C.struct_ps_engine, index C.uint32_t, position C.size_t, out *C.struct_ps_counter,
) int64 {
	return call(c, func(e *engine) int64 {
		*out = C.struct_ps_counter{}
		if index == 0 {
			if int(position) >= len(stackCounters) {
				return 0
			}
			statistics := e.stack.Stats()
			setText(out.name[:], stackCounters[position].name)
			out.value = C.uint64_t(stackCounters[position].of(&statistics).Value())
			return 1
		}
		i := e.interfaces[uint32(index)]
		if i == nil {
			return negative(syscall.ENODEV)
		}
		all := e.interfaceCounters(i)
		if int(position) >= len(all) {
			return 0
		}
		setText(out.name[:], all[position].name)
		out.value = C.uint64_t(all[position].value)
		return 1
	})
}
