package main

// #include "shim.h"
import "C"

import (
	"bytes"
	"sort"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// isReport says whether a frame is a host's word about a group: of MLD (RFC 2710, RFC 3810),
// which hides behind a router alert, or of IGMP.
func isReport(frame []byte, ethernet bool) bool {
	if ethernet {
		frame = frame[header.EthernetMinimumSize:]
	}
	if len(frame) < header.IPv4MinimumSize {
		return false
	}
	if frame[0]>>4 == 4 {
		return header.IPv4(frame).Protocol() == uint8(header.IGMPProtocolNumber)
	}
	const icmp = header.IPv6MinimumSize + 8
	if len(frame) <= icmp || frame[6] != 0 || frame[40] != uint8(header.ICMPv6ProtocolNumber) {
		return false
	}
	switch header.ICMPv6Type(frame[icmp]) {
	case header.ICMPv6MulticastListenerReport, header.ICMPv6MulticastListenerDone:
		return true
	}
	return false
}

// orderReports sorts reports that follow each other: netstack made them in the order of a Go map,
// and no two runs would be alike. Called with the lock.
func (e *engine) orderReports() {
	start, first := 0, 0 // of the run of reports: its first byte, its first frame
	at := 0
	for n := 0; n <= len(e.frames); n++ {
		if n < len(e.frames) {
			size := int(e.frames[n].size)
			i := e.interfaces[uint32(e.frames[n]._interface)]
			report := i != nil && isReport(e.bytes[at:at+size], i.ethernet())
			at += size
			if report {
				continue
			}
			if n-first > 1 {
				e.orderRun(start, first, n)
			}
			start, first = at, n+1
		} else if n-first > 1 {
			e.orderRun(start, first, n)
		}
	}
}

func (e *engine) orderRun(start, first, end int) {
	type one struct {
		record C.struct_shim_frame
		bytes  []byte
	}
	var run []one
	at := start
	for _, record := range e.frames[first:end] {
		size := int(record.size)
		run = append(run, one{record, append([]byte(nil), e.bytes[at:at+size]...)})
		at += size
	}
	sort.SliceStable(run, func(a, b int) bool {
		if run[a].record._interface != run[b].record._interface {
			return run[a].record._interface < run[b].record._interface
		}
		return bytes.Compare(run[a].bytes, run[b].bytes) < 0
	})
	at = start
	for n, each := range run {
		e.frames[first+n] = each.record
		at += copy(e.bytes[at:], each.bytes)
	}
}
