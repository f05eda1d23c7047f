package main

// #include "shim.h"
import "C"

import (
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ipOf gives the address itself, IPv4-mapped ones as IPv4.
func ipOf(a *C.struct_ps_address) (tcpip.Address, bool) {
	bytes := (*[16]byte)(unsafe.Pointer(&a.bytes))
	switch a.family {
	case C.PS_INET:
		return tcpip.Address(bytes[:4]), true
	case C.PS_INET6:
		ip := tcpip.Address(bytes[:])
		if header.IsV4MappedAddress(ip) {
			return ip[12:], true
		}
		return ip, true
	}
	return "", false
}

// rawOf gives the address as the family has it: a mapped one stays one.
func rawOf(a *C.struct_ps_address) tcpip.Address {
	bytes := (*[16]byte)(unsafe.Pointer(&a.bytes))
	if a.family == C.PS_INET {
		return tcpip.Address(bytes[:4])
	}
	return tcpip.Address(bytes[:])
}

// endOf gives an address and port for netstack, to whom the wildcard is no address at all.
func endOf(a *C.struct_ps_address) tcpip.FullAddress {
	end := tcpip.FullAddress{Addr: rawOf(a), Port: uint16(a.port)}
	if end.Addr.Unspecified() {
		end.Addr = ""
	}
	if scoped(end.Addr) {
		end.NIC = tcpip.NICID(a.scope)
	}
	return end
}

func scoped(ip tcpip.Address) bool {
	return header.IsV6LinkLocalUnicastAddress(ip) || header.IsV6LinkLocalMulticastAddress(ip)
}

// setAddress writes an address of a socket's family.
func setAddress(out *C.struct_ps_address, ip tcpip.Address, family C.uint8_t) {
	*out = C.struct_ps_address{family: family}
	bytes := (*[16]byte)(unsafe.Pointer(&out.bytes))
	switch {
	case len(ip) == 0:
	case family == C.PS_INET6 && len(ip) == header.IPv4AddressSize:
		if ip.Unspecified() {
			return
		}
		bytes[10], bytes[11] = 0xff, 0xff
		copy(bytes[12:], ip)
	default:
		copy(bytes[:], ip)
	}
}

func setEnd(out *C.struct_ps_address, end tcpip.FullAddress, family C.uint8_t) {
	setAddress(out, end.Addr, family)
	out.port = C.uint16_t(end.Port)
	if scoped(end.Addr) {
		out.scope = C.uint32_t(end.NIC)
	}
}

// setPlain writes an address of whichever family it is.
func setPlain(out *C.struct_ps_address, ip tcpip.Address) {
	family := C.uint8_t(C.PS_INET)
	if len(ip) == header.IPv6AddressSize {
		family = C.PS_INET6
	}
	setAddress(out, ip, family)
}

func protocolOf(ip tcpip.Address) tcpip.NetworkProtocolNumber {
	if len(ip) == header.IPv4AddressSize {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func isMulticast(ip tcpip.Address) bool {
	return header.IsV4MulticastAddress(ip) || header.IsV6MulticastAddress(ip)
}

// network clears the bits beyond the prefix.
func network(ip tcpip.Address, prefix int) tcpip.Address {
	subnet := (tcpip.AddressWithPrefix{Address: ip, PrefixLen: prefix}).Subnet()
	return subnet.ID()
}
