package main

// #include "shim.h"
import "C"

import (
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// netAddress is an address of an interface. netstack tells it what becomes of it.
type netAddress struct {
	engine      *engine
	owner       *netInterface
	address     tcpip.AddressWithPrefix
	origin      C.uint8_t
	state       C.uint8_t
	valid       tcpip.MonotonicTime // zero: for ever
	preferred   tcpip.MonotonicTime
	probing     bool // RFC 5227's probes are under way
	withdrawing bool // by us: netstack need not tell
}

// OnChanged and OnRemoved are called with netstack's locks held.
func (a *netAddress) OnChanged(lifetimes stack.AddressLifetimes, state stack.AddressAssignmentState) {
	before := a.state
	switch {
	case state == stack.AddressTentative || a.probing:
		a.state = C.PS_ADDRESS_TENTATIVE
	case lifetimes.Deprecated:
		a.state = C.PS_ADDRESS_DEPRECATED
	default:
		a.state = C.PS_ADDRESS_PREFERRED
	}
	a.valid, a.preferred = lifetimes.ValidUntil, lifetimes.PreferredUntil
	if a.state != before {
		a.engine.interfaceChanged(a.owner.index)
	}
}

func (a *netAddress) OnRemoved(reason stack.AddressRemovalReason) {
	if a.withdrawing {
		return
	}
	if reason == stack.AddressRemovalDADFailed {
		a.state = C.PS_ADDRESS_DUPLICATE // it stays in the list, to be seen
	} else {
		a.owner.forget(a)
	}
	a.engine.interfaceChanged(a.owner.index)
}

func (i *netInterface) forget(address *netAddress) {
	for position, each := range i.addresses {
		if each == address {
			i.addresses = append(i.addresses[:position], i.addresses[position+1:]...)
			return
		}
	}
}

func (i *netInterface) find(ip tcpip.Address) *netAddress {
	for _, each := range i.addresses {
		if each.address.Address == ip {
			return each
		}
	}
	return nil
}

func (i *netInterface) linkLocal() *netAddress {
	for _, each := range i.addresses {
		if each.origin == C.PS_ORIGIN_LINK_LOCAL {
			return each
		}
	}
	return nil
}

// How an address is looked for on the wire before it is used: RFC 4862 5.1, RFC 5227 1.1.
func probing() stack.DADConfigurations { return stack.DefaultDADConfigurations() }

func probingIPv4() stack.DADConfigurations {
	return stack.DADConfigurations{DupAddrDetectTransmits: 3, RetransmitTimer: time.Second}
}

// detector gives what sends the probes of an address.
func (e *engine) detector(i *netInterface) stack.DuplicateAddressDetector {
	endpoint, err := e.stack.GetNetworkEndpoint(i.id(), header.IPv6ProtocolNumber)
	if err != nil {
		return nil
	}
	detector, _ := endpoint.(stack.DuplicateAddressDetector)
	return detector
}

// addAddress puts an address on an interface. IPv6's detection is a setting of the interface,
// off but for the addresses that are to be looked for.
func (e *engine) addAddress(
	i *netInterface, address tcpip.AddressWithPrefix, origin C.uint8_t, detect bool,
) tcpip.Error {
	protocol := protocolOf(address.Address)
	entry := &netAddress{
		engine: e, owner: i, address: address, origin: origin, state: C.PS_ADDRESS_PREFERRED,
	}
	if detector := e.detector(i); detect && detector != nil {
		detector.SetDADConfigurations(probing())
		defer detector.SetDADConfigurations(stack.DADConfigurations{})
	}
	if err := e.stack.AddProtocolAddress(
		i.id(),
		tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: address},
		stack.AddressProperties{Disp: entry},
	); err != nil {
		return err
	}
	i.addresses = append(i.addresses, entry)
	if detect && protocol == header.IPv4ProtocolNumber {
		e.probe(entry)
	}
	return nil
}

// probe looks for another holder of an IPv4 address (RFC 5227 2.1). netstack uses the address
// meanwhile: it has no tentative ones in IPv4.
func (e *engine) probe(entry *netAddress) {
	done := func(result stack.DADResult) {
		entry.probing = false
		entry.state = C.PS_ADDRESS_PREFERRED
		if _, taken := result.(*stack.DADDupAddrDetected); taken {
			entry.state = C.PS_ADDRESS_DUPLICATE
			e.mu.Lock()
			e.conflicts = append(e.conflicts, conflict{entry})
			e.mu.Unlock()
		}
		e.interfaceChanged(entry.owner.index)
	}
	disposition, err := e.stack.CheckDuplicateAddress(
		entry.owner.id(), header.IPv4ProtocolNumber, entry.address.Address, done)
	if err == nil && disposition != stack.DADDisabled {
		entry.probing = true
		entry.state = C.PS_ADDRESS_TENTATIVE
	}
}

// conflict is an address that was found to be somebody else's, to be taken from netstack when
// none of its locks is held.
type conflict struct{ address *netAddress }

func (e *engine) withdrawConflicts() {
	e.mu.Lock()
	conflicts := e.conflicts
	e.conflicts = nil
	e.mu.Unlock()
	for _, each := range conflicts {
		each.address.withdrawing = true
		// It may have been removed by the user meanwhile.
		_ = e.stack.RemoveAddress(each.address.owner.id(), each.address.address.Address)
		e.rebuildRoutes()
	}
}

func (e *engine) addLinkLocal(i *netInterface) {
	address := tcpip.AddressWithPrefix{
		Address: header.LinkLocalAddr(i.link.mac), PrefixLen: 64,
	}
	if i.find(address.Address) != nil {
		return
	}
	if err := e.addAddress(i, address, C.PS_ORIGIN_LINK_LOCAL, true); err != nil {
		panic("no link-local address: " + err.String())
	}
	e.rebuildRoutes()
}

func (e *engine) removeAddress(i *netInterface, entry *netAddress) {
	entry.withdrawing = true
	if err := e.stack.RemoveAddress(i.id(), entry.address.Address); err != nil {
		// One that was a duplicate is gone from netstack already.
		if _, gone := err.(*tcpip.ErrBadLocalAddress); !gone {
			panic("an address can't be removed: " + err.String())
		}
	}
	i.forget(entry)
	e.rebuildRoutes()
}

// meant finds the interface of an index, and what address is spoken of.
func (e *engine) meant(
	index C.uint32_t, address *C.struct_ps_address,
) (*netInterface, tcpip.Address, int64) {
	i := e.interfaces[uint32(index)]
	if i == nil {
		return nil, "", negative(syscall.ENODEV)
	}
	ip, known := ipOf(address)
	if !known {
		return nil, "", negative(syscall.EAFNOSUPPORT)
	}
	return i, ip, 0
}

//export gvAddressAdd
func gvAddressAdd(
	c *C.struct_ps_engine, index C.uint32_t, address *C.struct_ps_address, detect bool,
) int64 {
	return call(c, func(e *engine) int64 {
		i, ip, result := e.meant(index, address)
		if result < 0 {
			return result
		}
		if int(address.prefix) > 8*len(ip) || ip.Unspecified() || isMulticast(ip) ||
			ip == header.IPv4Broadcast {
			return negative(syscall.EINVAL)
		}
		if i.link == nil {
			return negative(syscall.EOPNOTSUPP) // the loopback keeps 127.0.0.1 and ::1
		}
		for _, other := range e.interfaces {
			if found := other.find(ip); found != nil &&
				(other == i || len(ip) == header.IPv4AddressSize) {
				return negative(syscall.EEXIST)
			}
		}
		with := tcpip.AddressWithPrefix{Address: ip, PrefixLen: int(address.prefix)}
		if err := e.addAddress(i, with, C.PS_ORIGIN_STATIC, detect); err != nil {
			return number(err)
		}
		e.rebuildRoutes()
		e.interfaceChanged(i.index)
		return 0
	})
}

//export gvAddressRemove
func gvAddressRemove(
	c *C.struct_ps_engine, index C.uint32_t, address *C.struct_ps_address,
) int64 {
	return call(c, func(e *engine) int64 {
		i, ip, result := e.meant(index, address)
		if result < 0 {
			return result
		}
		if i.link == nil {
			return negative(syscall.EOPNOTSUPP)
		}
		entry := i.find(ip)
		if entry == nil {
			return negative(syscall.EADDRNOTAVAIL)
		}
		e.removeAddress(i, entry)
		e.interfaceChanged(i.index)
		return 0
	})
}

//export gvAddressPrefer
func gvAddressPrefer(
	c *C.struct_ps_engine, index C.uint32_t, address *C.struct_ps_address, preferred bool,
) int64 {
	return call(c, func(e *engine) int64 {
		i, ip, result := e.meant(index, address)
		if result < 0 {
			return result
		}
		if len(ip) != header.IPv6AddressSize {
			return negative(syscall.EINVAL)
		}
		lifetimes := stack.AddressLifetimes{Deprecated: !preferred}
		if i.find(ip) == nil || e.stack.SetAddressLifetimes(i.id(), ip, lifetimes) != nil {
			return negative(syscall.EADDRNOTAVAIL)
		}
		return 0
	})
}

const forEver = 0xffffffff

func (e *engine) secondsUntil(moment tcpip.MonotonicTime) C.uint32_t {
	if moment == (tcpip.MonotonicTime{}) {
		return forEver
	}
	left := moment.Sub(e.clock.NowMonotonic())
	switch {
	case left <= 0:
		return 0
	case left/time.Second >= forEver:
		return forEver
	}
	return C.uint32_t(left / time.Second)
}

//export gvAddressAt
func gvAddressAt(
	c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_interface_address,
) int64 {
	return call(c, func(e *engine) int64 {
		for _, i := range e.ordered() {
			if int(position) >= len(i.addresses) {
				position -= C.size_t(len(i.addresses))
				continue
			}
			each := i.addresses[position]
			*out = C.struct_ps_interface_address{
				_interface:  C.uint32_t(i.index),
				state:       each.state,
				origin:      each.origin,
				valid_s:     e.secondsUntil(each.valid),
				preferred_s: e.secondsUntil(each.preferred),
			}
			setPlain(&out.address, each.address.Address)
			out.address.prefix = C.uint8_t(each.address.PrefixLen)
			if scoped(each.address.Address) {
				out.address.scope = C.uint32_t(i.index)
			}
			return 1
		}
		return 0
	})
}
