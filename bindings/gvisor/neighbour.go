package main

// #include "shim.h"
import "C"

import (
	"sort"
	"syscall"
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

var families = map[C.enum_ps_family]tcpip.NetworkProtocolNumber{
	C.PS_INET: header.IPv4ProtocolNumber, C.PS_INET6: header.IPv6ProtocolNumber,
}

type neighbour struct {
	stack.NeighborEntry
	owner *netInterface
}

// neighbours lists the entries in an order that stays the same from one position to the next.
func (e *engine) neighbours() []neighbour {
	var all []neighbour
	for _, i := range e.ordered() {
		if !i.ethernet() {
			continue
		}
		for _, protocol := range []tcpip.NetworkProtocolNumber{
			header.IPv4ProtocolNumber, header.IPv6ProtocolNumber,
		} {
			entries, err := e.stack.Neighbors(i.id(), protocol)
			if err != nil {
				continue // an interface without a table of this family
			}
			sort.Slice(entries, func(a, b int) bool { return entries[a].Addr < entries[b].Addr })
			for _, entry := range entries {
				all = append(all, neighbour{entry, i})
			}
		}
	}
	return all
}

//export gvNeighbourAdd
func gvNeighbourAdd(c *C.struct_ps_engine, entry *C.struct_ps_neighbour) int64 {
	return call(c, func(e *engine) int64 {
		i := e.interfaces[uint32(entry._interface)]
		if i == nil {
			return negative(syscall.ENODEV)
		}
		if !i.ethernet() {
			return negative(syscall.EOPNOTSUPP)
		}
		ip, known := ipOf(&entry.address)
		if !known {
			return negative(syscall.EAFNOSUPPORT)
		}
		if ip.Unspecified() || isMulticast(ip) {
			return negative(syscall.EINVAL)
		}
		return number(e.stack.AddStaticNeighbor(i.id(), protocolOf(ip), ip, macOf(&entry.mac)))
	})
}

//export gvNeighbourRemove
func gvNeighbourRemove(
	c *C.struct_ps_engine, index C.uint32_t, address *C.struct_ps_address,
) int64 {
	return call(c, func(e *engine) int64 {
		i, ip, result := e.meant(index, address)
		if result < 0 {
			return result
		}
		for _, each := range e.neighbours() {
			if each.owner == i && each.Addr == ip {
				return number(e.stack.RemoveNeighbor(i.id(), protocolOf(ip), ip))
			}
		}
		return negative(syscall.ESRCH)
	})
}

//export gvNeighbourFlush
func gvNeighbourFlush(
	c *C.struct_ps_engine, index C.uint32_t, family C.enum_ps_family, all bool,
) int64 {
	return call(c, func(e *engine) int64 {
		if index != 0 && e.interfaces[uint32(index)] == nil {
			return negative(syscall.ENODEV)
		}
		removed := int64(0)
		for _, each := range e.neighbours() {
			if (index != 0 && each.owner.index != uint32(index)) ||
				(family != C.PS_UNSPECIFIED && families[family] != protocolOf(each.Addr)) ||
				(each.State == stack.Static && !all) {
				continue
			}
			if err := e.stack.RemoveNeighbor(
				each.owner.id(), protocolOf(each.Addr), each.Addr,
			); err == nil {
				removed++
			}
		}
		return removed
	})
}

var neighbourStates = map[stack.NeighborState]C.uint8_t{
	stack.Unknown:     C.PS_NEIGHBOUR_INCOMPLETE,
	stack.Incomplete:  C.PS_NEIGHBOUR_INCOMPLETE,
	stack.Unreachable: C.PS_NEIGHBOUR_INCOMPLETE,
	stack.Reachable:   C.PS_NEIGHBOUR_REACHABLE,
	stack.Stale:       C.PS_NEIGHBOUR_STALE,
	stack.Delay:       C.PS_NEIGHBOUR_DELAY,
	stack.Probe:       C.PS_NEIGHBOUR_PROBE,
	stack.Static:      C.PS_NEIGHBOUR_PERMANENT,
}

//export gvNeighbourAt
func gvNeighbourAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_neighbour) int64 {
	return call(c, func(e *engine) int64 {
		all := e.neighbours()
		if int(position) >= len(all) {
			return 0
		}
		each := all[position]
		*out = C.struct_ps_neighbour{
			_interface: C.uint32_t(each.owner.index),
			state:      neighbourStates[each.State],
			age_s:      C.uint32_t(e.clock.NowMonotonic().Sub(each.UpdatedAt) / time.Second),
		}
		setPlain(&out.address, each.Addr)
		if scoped(each.Addr) {
			out.address.scope = C.uint32_t(each.owner.index)
		}
		copy((*[6]byte)(unsafe.Pointer(&out.mac))[:], each.LinkAddr)
		return 1
	})
}
