package main

// #include "shim.h"
import "C"

import (
	"sort"
	"syscall"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	loopbackIndex = 1
	mostIndex     = 255 // the host numbers interfaces below 256
)

// netInterface is an interface as the contract has it; netstack's NIC is enabled while it is
// up and has a link.
type netInterface struct {
	index      uint32
	name       string
	link       *link // nil: the loopback interface
	up, linked bool
	slaac      bool
	addresses  []*netAddress
}

func (i *netInterface) id() tcpip.NICID { return tcpip.NICID(i.index) }

func (i *netInterface) usable() bool { return i.up && i.linked }

func (i *netInterface) ethernet() bool { return i.link != nil && i.link.ethernet }

// ordered gives the interfaces by their index.
func (e *engine) ordered() []*netInterface {
	all := make([]*netInterface, 0, len(e.interfaces))
	for _, i := range e.interfaces {
		all = append(all, i)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].index < all[b].index })
	return all
}

func (e *engine) interfaceChanged(index uint32) {
	e.post(C.PS_EVENT_INTERFACE, int64(index), 0)
}

func (e *engine) addLoopback() error {
	if err := e.stack.CreateNICWithOptions(
		loopbackIndex, loopback.New(), stack.NICOptions{Name: "lo"},
	); err != nil {
		return errno(err)
	}
	lo := &netInterface{index: loopbackIndex, name: "lo", up: true, linked: true}
	e.interfaces[loopbackIndex] = lo
	for _, address := range []tcpip.AddressWithPrefix{
		{Address: "\x7f\x00\x00\x01", PrefixLen: 8},
		{Address: header.IPv6Loopback, PrefixLen: 128},
	} {
		if err := e.addAddress(lo, address, C.PS_ORIGIN_STATIC, false); err != nil {
			return errno(err)
		}
	}
	e.rebuildRoutes()
	return nil
}

func (e *engine) freeIndex() (uint32, bool) {
	for index := uint32(loopbackIndex + 1); index <= mostIndex; index++ {
		if e.interfaces[index] == nil {
			return index, true
		}
	}
	return 0, false
}

func mtuFits(mtu C.uint32_t) bool {
	// RFC 791: every host takes 68 bytes.
	return mtu >= 68 && mtu <= C.PS_MTU_MAXIMUM
}

//export gvInterfaceAdd
func gvInterfaceAdd(c *C.struct_ps_engine, spec *C.struct_ps_interface) int64 {
	return call(c, func(e *engine) int64 {
		name := textOf(spec.name[:])
		known := spec.layer == C.PS_LAYER_ETHERNET || spec.layer == C.PS_LAYER_IP
		if !mtuFits(spec.mtu) || !known || name == "" || len(name) >= C.PS_NAME_SIZE {
			return negative(syscall.EINVAL)
		}
		for _, other := range e.interfaces {
			if other.name == name {
				return negative(syscall.EEXIST)
			}
		}
		index, free := e.freeIndex()
		if !free {
			return negative(syscall.ENFILE)
		}
		l := &link{
			engine:   e,
			index:    index,
			ethernet: spec.layer == C.PS_LAYER_ETHERNET,
			mtu:      uint32(spec.mtu),
			mac:      macOf(&spec.mac),
		}
		if err := e.stack.CreateNICWithOptions(
			tcpip.NICID(index), l, stack.NICOptions{Name: name, Disabled: true},
		); err != nil {
			return number(err)
		}
		i := &netInterface{index: index, name: name, link: l}
		e.interfaces[index] = i
		e.settings.applyInterface(e, i)
		i.up = spec.flags&C.PS_IF_UP != 0
		i.linked = spec.flags&C.PS_IF_LINK != 0
		if i.usable() {
			e.enable(i)
		}
		return int64(index)
	})
}

func macOf(mac *[6]C.uint8_t) tcpip.LinkAddress {
	return tcpip.LinkAddress((*[6]byte)(unsafe.Pointer(mac))[:])
}

func textOf(chars []C.char) string {
	for size, char := range chars {
		if char == 0 {
			return string(unsafe.Slice((*byte)(unsafe.Pointer(&chars[0])), size))
		}
	}
	return ""
}

func setText(out []C.char, text string) {
	size := len(out) - 1
	if len(text) < size {
		size = len(text)
	}
	for position := 0; position < size; position++ {
		out[position] = C.char(text[position])
	}
	out[size] = 0
}

// enable starts a NIC that has become usable. Its link-local address is made with the first
// start (RFC 4862 5.3), and stays.
func (e *engine) enable(i *netInterface) {
	if err := e.stack.EnableNIC(i.id()); err != nil {
		panic("an interface can't be enabled: " + err.String())
	}
	if i.ethernet() && i.linkLocal() == nil {
		e.addLinkLocal(i)
	}
}

// change runs a change of an interface, and starts or stops its NIC as it asks for.
func (e *engine) change(index C.uint32_t, change func(i *netInterface) int64) int64 {
	i := e.interfaces[uint32(index)]
	if i == nil {
		return negative(syscall.ENODEV)
	}
	before := i.usable()
	result := change(i)
	if after := i.usable(); after != before {
		if after {
			e.enable(i)
		} else if err := e.stack.DisableNIC(i.id()); err != nil {
			panic("an interface can't be disabled: " + err.String())
		}
		e.rebuildRoutes()
	}
	if result >= 0 {
		e.interfaceChanged(i.index)
	}
	return result
}

func (e *engine) remove(i *netInterface) {
	kept := e.routes[:0]
	for _, r := range e.routes {
		if r.index != i.index {
			kept = append(kept, r)
		}
	}
	e.routes = kept
	e.dropDiscoveries(i)
	if err := e.stack.RemoveNIC(i.id()); err != nil {
		panic("an interface can't be removed: " + err.String())
	}
	delete(e.interfaces, i.index)
}

func (e *engine) removeInterfaces() {
	for _, i := range e.ordered() {
		e.remove(i)
	}
}

//export gvInterfaceRemove
func gvInterfaceRemove(c *C.struct_ps_engine, index C.uint32_t) int64 {
	return call(c, func(e *engine) int64 {
		i := e.interfaces[uint32(index)]
		if i == nil {
			return negative(syscall.ENODEV)
		}
		if i.link == nil {
			return negative(syscall.EPERM)
		}
		e.remove(i)
		e.rebuildRoutes()
		e.interfaceChanged(i.index)
		return 0
	})
}

//export gvInterfaceAt
func gvInterfaceAt(c *C.struct_ps_engine, position C.size_t, out *C.struct_ps_interface) int64 {
	return call(c, func(e *engine) int64 {
		all := e.ordered()
		if int(position) >= len(all) {
			return 0
		}
		i := all[position]
		*out = C.struct_ps_interface{index: C.uint32_t(i.index), layer: C.PS_LAYER_IP}
		setText(out.name[:], i.name)
		if i.up {
			out.flags |= C.PS_IF_UP
		}
		if i.linked {
			out.flags |= C.PS_IF_LINK
		}
		if i.slaac {
			out.flags |= C.PS_IF_SLAAC
		}
		if i.link == nil {
			out.mtu = 65535
			out.flags |= C.PS_IF_LOOPBACK
			return 1
		}
		out.mtu = C.uint32_t(i.link.mtu)
		copy((*[6]byte)(unsafe.Pointer(&out.mac))[:], i.link.mac)
		if i.link.ethernet {
			out.layer = C.PS_LAYER_ETHERNET
			out.flags |= C.PS_IF_BROADCAST
		}
		return 1
	})
}

//export gvInterfaceSetUp
func gvInterfaceSetUp(c *C.struct_ps_engine, index C.uint32_t, up bool) int64 {
	return call(c, func(e *engine) int64 {
		return e.change(index, func(i *netInterface) int64 {
			i.up = up
			return 0
		})
	})
}

//export gvInterfaceSetLink
func gvInterfaceSetLink(c *C.struct_ps_engine, index C.uint32_t, up bool) int64 {
	return call(c, func(e *engine) int64 {
		return e.change(index, func(i *netInterface) int64 {
			if i.link == nil {
				return negative(syscall.ENODEV)
			}
			i.linked = up
			return 0
		})
	})
}

//export gvInterfaceSetMtu
func gvInterfaceSetMtu(c *C.struct_ps_engine, index, mtu C.uint32_t) int64 {
	return call(c, func(e *engine) int64 {
		return e.change(index, func(i *netInterface) int64 {
			if !mtuFits(mtu) {
				return negative(syscall.EINVAL)
			}
			if i.link == nil {
				return negative(syscall.EOPNOTSUPP) // netstack's loopback has one MTU
			}
			i.link.mtu = uint32(mtu)
			return 0
		})
	})
}

//export gvInterfaceSetMac
func gvInterfaceSetMac(c *C.struct_ps_engine, index C.uint32_t, mac *C.uint8_t) int64 {
	return call(c, func(e *engine) int64 {
		return e.change(index, func(i *netInterface) int64 {
			if !i.ethernet() {
				return negative(syscall.EOPNOTSUPP)
			}
			wanted := macOf((*[6]C.uint8_t)(unsafe.Pointer(mac)))
			if wanted[0]&1 != 0 || wanted == header.UnspecifiedEthernetAddress {
				return negative(syscall.EADDRNOTAVAIL)
			}
			i.link.mac = wanted
			if old := i.linkLocal(); old != nil {
				e.removeAddress(i, old)
			}
			if i.usable() {
				e.addLinkLocal(i)
			}
			return 0
		})
	})
}

// gvFramesIn takes what has come from the wire. All of it is delivered before TCP looks at its
// segments, which it then acknowledges together, as netstack does under load.
//
//export gvFramesIn
func gvFramesIn(c *C.struct_ps_engine) int64 {
	return call(c, func(e *engine) int64 {
		frames := unsafe.Slice(c.incoming_frames, int(c.incoming_count))
		bytes := unsafe.Slice((*byte)(c.incoming), int(c.incoming_size))
		c.incoming_count, c.incoming_size = 0, 0
		for _, frame := range frames {
			if i := e.interfaces[uint32(frame._interface)]; i != nil && i.link != nil {
				i.link.receive(bytes[:frame.size])
			}
			bytes = bytes[frame.size:]
		}
		return 0
	})
}
