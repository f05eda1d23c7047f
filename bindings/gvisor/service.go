package main

// #include "shim.h"
import "C"

import (
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// quietNDP is how an interface begins: it listens to no router.
func quietNDP() ipv6.NDPConfigurations {
	configuration := ipv6.DefaultNDPConfigurations()
	configuration.HandleRAs = ipv6.HandlingRAsDisabled
	configuration.AutoGenTempGlobalAddresses = false
	return configuration
}

// router is a default router, or a route behind one, that was advertised.
type router struct {
	route
}

// discoveries hears of what routers advertise. It is called with netstack's locks held.
type discoveries struct{ engine *engine }

func (*discoveries) OnDuplicateAddressDetectionResult(
	tcpip.NICID, tcpip.Address, stack.DADResult,
) {
}

func (d *discoveries) OnOffLinkRouteUpdated(
	nic tcpip.NICID, destination tcpip.Subnet, gateway tcpip.Address,
	preference header.NDPRoutePreference,
) {
	d.OnOffLinkRouteInvalidated(nic, destination, gateway)
	// RFC 4191 2.1: high before medium before low.
	metric := uint32(1024)
	switch preference {
	case header.HighRoutePreference:
		metric--
	case header.LowRoutePreference:
		metric++
	}
	d.engine.routers = append(d.engine.routers, router{route{
		destination: destination.ID(), prefix: destination.Prefix(), gateway: gateway,
		index: uint32(nic), metric: metric, origin: C.PS_ROUTE_RA,
	}})
	d.changed(nic)
}

func (d *discoveries) OnOffLinkRouteInvalidated(
	nic tcpip.NICID, destination tcpip.Subnet, gateway tcpip.Address,
) {
	d.drop(nic, destination, gateway)
}

func (d *discoveries) OnOnLinkPrefixDiscovered(nic tcpip.NICID, prefix tcpip.Subnet) {
	d.drop(nic, prefix, "")
	d.engine.routers = append(d.engine.routers, router{route{
		destination: prefix.ID(), prefix: prefix.Prefix(), index: uint32(nic),
		origin: C.PS_ROUTE_RA,
	}})
	d.changed(nic)
}

func (d *discoveries) OnOnLinkPrefixInvalidated(nic tcpip.NICID, prefix tcpip.Subnet) {
	d.drop(nic, prefix, "")
}

func (d *discoveries) drop(nic tcpip.NICID, destination tcpip.Subnet, gateway tcpip.Address) {
	kept := d.engine.routers[:0]
	for _, each := range d.engine.routers {
		if each.index != uint32(nic) || each.destination != destination.ID() ||
			each.prefix != destination.Prefix() || each.gateway != gateway {
			kept = append(kept, each)
		}
	}
	d.engine.routers = kept
	d.changed(nic)
}

// changed has the routes made anew when none of netstack's locks is held any more.
func (d *discoveries) changed(nic tcpip.NICID) {
	d.engine.clock.AfterFunc(0, d.engine.rebuildRoutes)
	d.engine.interfaceChanged(uint32(nic))
}

func (d *discoveries) OnAutoGenAddress(
	nic tcpip.NICID, address tcpip.AddressWithPrefix,
) stack.AddressDispatcher {
	i := d.engine.interfaces[uint32(nic)]
	if i == nil {
		return nil
	}
	entry := &netAddress{
		engine: d.engine, owner: i, address: address, origin: C.PS_ORIGIN_SLAAC,
		state: C.PS_ADDRESS_TENTATIVE,
	}
	i.addresses = append(i.addresses, entry)
	d.changed(nic)
	return entry
}

func (*discoveries) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix) {}

func (*discoveries) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix) {}

func (d *discoveries) OnRecursiveDNSServerOption(
	_ tcpip.NICID, servers []tcpip.Address, lifetime time.Duration,
) {
	if lifetime == 0 {
		return
	}
	for position, each := range servers {
		if position < len(d.engine.nameservers) {
			setPlain(&d.engine.nameservers[position], each)
		}
	}
}

func (*discoveries) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration) {}

func (*discoveries) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA) {}

func (e *engine) discovered() []route {
	var all []route
	for _, each := range e.routers {
		if i := e.interfaces[each.index]; i != nil && i.usable() {
			all = append(all, each.route)
		}
	}
	return all
}

func (e *engine) dropDiscoveries(i *netInterface) {
	kept := e.routers[:0]
	for _, each := range e.routers {
		if each.index != i.index {
			kept = append(kept, each)
		}
	}
	e.routers = kept
}

// setSLAAC makes an interface listen to routers (RFC 4862). It asks them as it starts, so it is
// started anew.
func (e *engine) setSLAAC(i *netInterface, on bool) int64 {
	endpoint, err := e.stack.GetNetworkEndpoint(i.id(), header.IPv6ProtocolNumber)
	if err != nil {
		return number(err)
	}
	ndp, is := endpoint.(ipv6.NDPEndpoint)
	if !is {
		return negative(syscall.EOPNOTSUPP)
	}
	configuration := quietNDP()
	if on {
		configuration.HandleRAs = ipv6.HandlingRAsEnabledWhenForwardingDisabled
	}
	ndp.SetNDPConfigurations(configuration)
	i.slaac = on
	if i.usable() {
		if err := e.stack.DisableNIC(i.id()); err != nil {
			return number(err)
		}
		e.enable(i)
	}
	if !on {
		for _, each := range append([]*netAddress(nil), i.addresses...) {
			if each.origin == C.PS_ORIGIN_SLAAC {
				e.removeAddress(i, each)
			}
		}
		e.dropDiscoveries(i)
	}
	e.rebuildRoutes()
	e.interfaceChanged(i.index)
	return 0
}

//export gvServiceSet
func gvServiceSet(
	c *C.struct_ps_engine, index C.uint32_t, service C.enum_ps_service, on bool,
) int64 {
	return call(c, func(e *engine) int64 {
		i := e.interfaces[uint32(index)]
		if i == nil {
			return negative(syscall.ENODEV)
		}
		if service != C.PS_SERVICE_SLAAC || !i.ethernet() {
			if !on {
				return 0 // it doesn't run, as is wanted
			}
			return negative(syscall.EOPNOTSUPP)
		}
		if i.slaac == on {
			return 0
		}
		return e.setSLAAC(i, on)
	})
}

// nameservers are only kept: netstack resolves no names.
type nameservers [4]C.struct_ps_address

//export gvNameserverSet
func gvNameserverSet(
	c *C.struct_ps_engine, position C.size_t, address *C.struct_ps_address,
) int64 {
	return call(c, func(e *engine) int64 {
		if int(position) >= len(e.nameservers) {
			return negative(syscall.ENOSPC)
		}
		if address == nil || address.family == C.PS_UNSPECIFIED {
			e.nameservers[position] = C.struct_ps_address{}
			return 0
		}
		if ip, known := ipOf(address); !known {
			return negative(syscall.EAFNOSUPPORT)
		} else if ip.Unspecified() || isMulticast(ip) {
			return negative(syscall.EINVAL)
		}
		e.nameservers[position] = *address
		return 0
	})
}

//export gvNameserverAt
func gvNameserverAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_nameserver) int64 {
	return call(c, func(e *engine) int64 {
		for _, each := range e.nameservers {
			if each.family == C.PS_UNSPECIFIED {
				continue
			}
			if position == 0 {
				*out = C.struct_ps_nameserver{address: each}
				return 1
			}
			position--
		}
		return 0
	})
}
