package main

// #include "shim.h"
import "C"

import (
	"gvisor.dev/gvisor/pkg/bufferv2"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the host's NIC as netstack sees it: what is sent is gathered for the end of the entry.
type link struct {
	engine     *engine
	index      uint32
	ethernet   bool
	mtu        uint32
	mac        tcpip.LinkAddress
	dispatcher stack.NetworkDispatcher
	counters   linkCounters
}

type linkCounters struct {
	inOctets, inUnicast, inGroup, inErrors uint64
	outOctets, outUnicast, outGroup        uint64
}

func (l *link) MTU() uint32 { return l.mtu }

func (l *link) MaxHeaderLength() uint16 {
	if l.ethernet {
		return header.EthernetMinimumSize
	}
	return 0
}

func (l *link) LinkAddress() tcpip.LinkAddress {
	if l.ethernet {
		return l.mac
	}
	return ""
}

func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	if l.ethernet {
		return stack.CapabilityResolutionRequired
	}
	return 0
}

func (l *link) Attach(dispatcher stack.NetworkDispatcher) { l.dispatcher = dispatcher }

func (l *link) IsAttached() bool { return l.dispatcher != nil }

func (l *link) Wait() {}

func (l *link) ARPHardwareType() header.ARPHardwareType {
	if l.ethernet {
		return header.ARPHardwareEther
	}
	return header.ARPHardwareNone
}

func (l *link) AddHeader(pkt stack.PacketBufferPtr) {
	if !l.ethernet {
		return
	}
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	e := l.engine
	if e.silent {
		return packets.Len(), nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, pkt := range packets.AsSlice() {
		start := len(e.bytes)
		for _, part := range pkt.AsSlices() {
			e.bytes = append(e.bytes, part...)
		}
		size := len(e.bytes) - start
		e.frames = append(e.frames, C.struct_shim_frame{
			_interface: C.uint32_t(l.index), size: C.uint32_t(size),
		})
		l.counters.outOctets += uint64(size)
		if l.isGroup(e.bytes[start:]) {
			l.counters.outGroup++
		} else {
			l.counters.outUnicast++
		}
	}
	return packets.Len(), nil
}

// isGroup says whether a frame is for more than one.
func (l *link) isGroup(frame []byte) bool {
	if l.ethernet {
		return frame[0]&1 != 0
	}
	if frame[0]>>4 == 6 {
		return len(frame) >= header.IPv6MinimumSize && frame[24] == 0xff
	}
	return len(frame) >= header.IPv4MinimumSize && frame[16] >= 224
}

// receive takes a frame from the wire.
func (l *link) receive(frame []byte) {
	if l.dispatcher == nil {
		return
	}
	least := header.IPv4MinimumSize
	if l.ethernet {
		least = header.EthernetMinimumSize
	}
	if len(frame) < least {
		l.counters.inErrors++
		return
	}
	if l.ethernet && !l.isForUs(frame) {
		return
	}
	l.counters.inOctets += uint64(len(frame))
	if l.isGroup(frame) {
		l.counters.inGroup++
	} else {
		l.counters.inUnicast++
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: bufferv2.MakeWithData(frame)})
	defer pkt.DecRef()
	var protocol tcpip.NetworkProtocolNumber
	if l.ethernet {
		bytes, _ := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
		protocol = header.Ethernet(bytes).Type()
	} else if frame[0]>>4 == 6 {
		protocol = header.IPv6ProtocolNumber
	} else {
		protocol = header.IPv4ProtocolNumber
	}
	l.dispatcher.DeliverNetworkPacket(protocol, pkt)
}

// isForUs is a NIC's filter: netstack takes what it is given.
func (l *link) isForUs(frame []byte) bool {
	return frame[0]&1 != 0 || string(frame[:6]) == string(l.mac)
}
