package main

// #include "shim.h"
import "C"

import (
	"sort"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// route is an entry of the routing table. netstack takes the first of its table that fits, so
// that its table is made anew, in order, whenever ours or the addresses change.
type route struct {
	destination tcpip.Address
	prefix      int
	gateway     tcpip.Address // "": on link
	source      tcpip.Address // the address that a connected route comes from
	index       uint32
	metric      uint32
	origin      C.uint8_t
}

func (r route) holds(ip tcpip.Address) bool {
	return len(ip) == len(r.destination) && network(ip, r.prefix) == r.destination
}

func (r route) sameDestination(other route) bool {
	return r.destination == other.destination && r.prefix == other.prefix
}

// allRoutes gives the table as it is listed: what the user added, what follows from the
// addresses, what routers advertised.
func (e *engine) allRoutes() []route {
	all := append([]route(nil), e.routes...)
	for _, i := range e.ordered() {
		if !i.usable() {
			continue
		}
		for _, each := range i.addresses {
			if each.state == C.PS_ADDRESS_DUPLICATE {
				continue
			}
			all = append(all, route{
				destination: network(each.address.Address, each.address.PrefixLen),
				prefix:      each.address.PrefixLen,
				source:      each.address.Address,
				index:       i.index,
				origin:      C.PS_ROUTE_CONNECTED,
			})
		}
	}
	return append(all, e.discovered()...)
}

func (e *engine) rebuildRoutes() {
	all := e.allRoutes()
	// Groups and broadcasts are on every link: the first usable one takes them, where nothing
	// better is said.
	for _, i := range e.ordered() {
		if i.link != nil && i.usable() {
			all = append(all,
				route{destination: "\xe0\x00\x00\x00", prefix: 4, index: i.index},
				route{destination: header.IPv4Broadcast, prefix: 32, index: i.index})
			if i.ethernet() {
				all = append(all, route{
					destination: network(header.IPv6AllNodesMulticastAddress, 8),
					prefix:      8, index: i.index,
				})
			}
		}
	}
	sort.SliceStable(all, func(a, b int) bool {
		if all[a].prefix != all[b].prefix {
			return all[a].prefix > all[b].prefix
		}
		return all[a].metric < all[b].metric
	})
	table := make([]tcpip.Route, 0, len(all))
	for _, each := range all {
		subnet := tcpip.AddressWithPrefix{Address: each.destination, PrefixLen: each.prefix}.Subnet()
		table = append(table, tcpip.Route{
			Destination: subnet, Gateway: each.gateway, NIC: tcpip.NICID(each.index),
		})
	}
	e.stack.SetRouteTable(table)
}

// lookup finds the route that a packet would take.
func (e *engine) lookup(ip tcpip.Address) (route, bool) {
	var best route
	found := false
	for _, each := range e.allRoutes() {
		i := e.interfaces[each.index]
		if i == nil || !i.usable() || !each.holds(ip) {
			continue
		}
		if !found || each.prefix > best.prefix ||
			(each.prefix == best.prefix && each.metric < best.metric) {
			best, found = each, true
		}
	}
	return best, found
}

// connectedTo finds the interface on whose network an address is.
func (e *engine) connectedTo(ip tcpip.Address, index uint32) (uint32, bool) {
	for _, each := range e.allRoutes() {
		if each.origin == C.PS_ROUTE_CONNECTED && each.holds(ip) &&
			(index == 0 || each.index == index) {
			return each.index, true
		}
	}
	return 0, false
}

// routeOf reads a route that the user names.
func routeOf(spec *C.struct_ps_route) (route, syscall.Errno) {
	ip, known := ipOf(&spec.destination)
	if !known {
		return route{}, syscall.EAFNOSUPPORT
	}
	r := route{
		destination: ip,
		prefix:      int(spec.destination.prefix),
		index:       uint32(spec._interface),
		metric:      uint32(spec.metric),
		origin:      C.PS_ROUTE_STATIC,
	}
	if r.prefix > 8*len(ip) || network(ip, r.prefix) != ip {
		return route{}, syscall.EINVAL
	}
	if spec.gateway.family != C.PS_UNSPECIFIED {
		if r.gateway, known = ipOf(&spec.gateway); !known || len(r.gateway) != len(ip) {
			return route{}, syscall.EINVAL
		}
	}
	return r, 0
}

//export gvRouteAdd
func gvRouteAdd(c *C.struct_ps_engine, spec *C.struct_ps_route) int64 {
	return call(c, func(e *engine) int64 {
		r, problem := routeOf(spec)
		if problem != 0 {
			return negative(problem)
		}
		if r.index != 0 && e.interfaces[r.index] == nil {
			return negative(syscall.ENODEV)
		}
		if spec.source.family != C.PS_UNSPECIFIED {
			return negative(syscall.EOPNOTSUPP) // netstack chooses it, by the destination
		}
		if r.gateway != "" {
			near, found := e.connectedTo(r.gateway, r.index)
			if scoped(r.gateway) && r.index == 0 {
				near, found = uint32(spec.gateway.scope), e.interfaces[uint32(spec.gateway.scope)] != nil
			}
			if !found {
				return negative(syscall.ENETUNREACH)
			}
			r.index = near
		}
		if r.index == 0 {
			return negative(syscall.ENODEV)
		}
		for _, other := range e.routes {
			if r.sameDestination(other) && r.metric == other.metric {
				return negative(syscall.EEXIST)
			}
		}
		e.routes = append([]route{r}, e.routes...)
		e.rebuildRoutes()
		return 0
	})
}

//export gvRouteRemove
func gvRouteRemove(c *C.struct_ps_engine, spec *C.struct_ps_route) int64 {
	return call(c, func(e *engine) int64 {
		wanted, problem := routeOf(spec)
		if problem != 0 {
			return negative(problem)
		}
		for position, each := range e.routes {
			// What the caller leaves out matches anything.
			if each.sameDestination(wanted) &&
				(wanted.index == 0 || wanted.index == each.index) &&
				(wanted.metric == 0 || wanted.metric == each.metric) &&
				(wanted.gateway == "" || wanted.gateway == each.gateway) {
				e.routes = append(e.routes[:position], e.routes[position+1:]...)
				e.rebuildRoutes()
				return 0
			}
		}
		return negative(syscall.ESRCH)
	})
}

func (r route) describe(out *C.struct_ps_route) {
	*out = C.struct_ps_route{
		_interface: C.uint32_t(r.index), metric: C.uint32_t(r.metric), origin: r.origin,
	}
	setPlain(&out.destination, r.destination)
	out.destination.prefix = C.uint8_t(r.prefix)
	if r.gateway != "" {
		setPlain(&out.gateway, r.gateway)
		if scoped(r.gateway) {
			out.gateway.scope = C.uint32_t(r.index)
		}
	}
	if r.source != "" {
		setPlain(&out.source, r.source)
	}
}

//export gvRouteAt
func gvRouteAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_route) int64 {
	return call(c, func(e *engine) int64 {
		all := e.allRoutes()
		if int(position) >= len(all) {
			return 0
		}
		all[position].describe(out)
		return 1
	})
}

//export gvRouteLookup
func gvRouteLookup(
	c *C.struct_ps_engine, destination *C.struct_ps_address, out *C.struct_ps_route,
) int64 {
	return call(c, func(e *engine) int64 {
		ip, known := ipOf(destination)
		if !known {
			return negative(syscall.EAFNOSUPPORT)
		}
		best, found := e.lookup(ip)
		if !found {
			return negative(syscall.ENETUNREACH)
		}
		best.describe(out)
		return 0
	})
}
