// Command gvisor is gVisor's netstack behind the contract engine.h, built as a C shared library.
//
// The C around it (shim.c) is what the host calls; each of its entries makes one call of an
// exported function here, and each of those runs inside call, below.
package main

// #include "shim.h"
import "C"

import (
	"fmt"
	"io"
	"runtime/cgo"
	"sync"
	"syscall"
	"time"

	entropy "gvisor.dev/gvisor/pkg/rand"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func main() {} // asked for by the linker, and never called in a shared library

// engine is one instance: a netstack, and what the contract wants around it.
type engine struct {
	c         *C.struct_ps_engine
	stack     *stack.Stack
	clock     *clock
	random    *random
	processor *processor
	silent    bool // closing without a word: no frame leaves any more

	mu     sync.Mutex // guards what netstack may tell us from elsewhere
	bytes  []byte     // outgoing frames, end to end
	frames []C.struct_shim_frame
	events []C.struct_shim_event
	dirty  []*socket // something happened to them

	interfaces  map[uint32]*netInterface
	routes      []route
	slots       []slot
	firstFree   int
	settings    settings
	nameservers nameservers
	listing     []C.struct_ps_connection // as it was when its position 0 was asked for
	conflicts   []conflict
	routers     []router
}

// negative turns an errno into a result, as the host expects it.
func negative(e syscall.Errno) int64 { return -int64(e) }

// call runs the body of an entry: first the timers whose moment has passed, then the body, then
// all that follows from it. Frames and events are handed over at the end.
func call(c *C.struct_ps_engine, body func(e *engine) int64) (result int64) {
	e := cgo.Handle(c.instance).Value().(*engine)
	defer catch(c, &result)
	e.advance()
	result = body(e)
	e.settle()
	e.flush()
	return result
}

// catch notes a panic for the C around us to pass on, once no Go frame is on the stack.
func catch(c *C.struct_ps_engine, result *int64) {
	cause := recover()
	if cause == nil {
		return
	}
	text := []byte(fmt.Sprint(cause))
	room := len(c.panic_text) - 1
	if len(text) > room {
		text = text[:room]
	}
	for i, b := range text {
		c.panic_text[i] = C.char(b)
	}
	c.panic_text[len(text)] = 0
	c.panicked = true
	*result = negative(syscall.ENOTRECOVERABLE)
}

func (e *engine) present() int64 {
	return int64(e.c.now_us) * int64(time.Microsecond)
}

// advance brings the stack to the present.
func (e *engine) advance() {
	e.settle()
	e.clock.set(e.present())
}

// settle goes on until nothing is left that is due now.
func (e *engine) settle() {
	present := e.present()
	for {
		for e.processor.drain() {
		}
		due := e.clock.take(present)
		if due == nil {
			return
		}
		e.random.hold()
		due.call()
		e.random.release()
	}
}

// flush hands over what the stack has to say, and notes when it wants to run.
func (e *engine) flush() {
	e.report()
	e.mu.Lock()
	e.orderReports()
	frames, bytes, events := e.frames, e.bytes, e.events
	e.frames, e.bytes, e.events = nil, nil, nil
	e.mu.Unlock()
	if len(frames) > 0 {
		C.shim_frames_out(e.c, (*C.uint8_t)(&bytes[0]), &frames[0], C.size_t(len(frames)))
	}
	if len(events) > 0 {
		C.shim_events(e.c, &events[0], C.size_t(len(events)))
	}
	e.mu.Lock()
	if e.frames == nil {
		e.frames, e.bytes = frames[:0], bytes[:0]
	}
	if e.events == nil {
		e.events = events[:0]
	}
	e.mu.Unlock()
	e.c.deadline_us = C.UINT64_MAX
	if at, set := e.clock.next(); set {
		// Rounded up: at the microsecond before, the timer would not be due yet.
		e.c.deadline_us = C.uint64_t((at + int64(time.Microsecond) - 1) / int64(time.Microsecond))
	}
}

func (e *engine) post(kind uint32, id int64, mask uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, C.struct_shim_event{
		id: C.int64_t(id), kind: C.uint32_t(kind), mask: C.uint32_t(mask),
	})
}

// opening guards netstack's package-wide source of randomness, which a protocol reads as it is
// made and which has to be this instance's then.
var opening sync.Mutex

func newEngine(c *C.struct_ps_engine) (*engine, error) {
	random, result := newRandom(c)
	if result < 0 {
		return nil, syscall.Errno(-result)
	}
	e := &engine{
		c:          c,
		clock:      &clock{},
		random:     random,
		interfaces: map[uint32]*netInterface{},
		firstFree:  -1,
		settings:   initialSettings(),
	}
	e.clock.set(e.present())
	opening.Lock()
	defer opening.Unlock()
	if err := findLayout(); err != nil {
		return nil, err
	}
	defer func(before io.Reader) { entropy.Reader = before }(entropy.Reader)
	entropy.Reader = random
	seed := make([]byte, 16)
	random.Read(seed)
	e.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocolWithOptions(ipv4.Options{IGMP: ipv4.IGMPOptions{Enabled: true}}),
			ipv6.NewProtocolWithOptions(ipv6.Options{
				NDPConfigs:  quietNDP(),
				NDPDisp:     &discoveries{e},
				TempIIDSeed: seed,
				MLD:         ipv6.MLDOptions{Enabled: true},
			}),
			arp.NewProtocolWithOptions(arp.Options{DADConfigs: probingIPv4()}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		Clock:       e.clock,
		HandleLocal: true,
		RawFactory:  raw.EndpointFactory{},
		RandSource:  random,
		SecureRNG:   random,
		NUDDisp:     nil,
	})
	var err error
	if e.processor, err = newProcessor(e.stack); err != nil {
		return nil, err
	}
	e.settings.applyAll(e)
	if err := e.addLoopback(); err != nil {
		return nil, fmt.Errorf("the loopback interface: %s", err)
	}
	return e, nil
}

//export gvOpen
func gvOpen(c *C.struct_ps_engine) (result int64) {
	defer catch(c, &result)
	e, err := newEngine(c)
	if err != nil {
		if number, known := err.(syscall.Errno); known {
			return negative(number)
		}
		panic(err)
	}
	c.instance = C.uintptr_t(cgo.NewHandle(e))
	e.settle()
	e.flush()
	return 0
}

//export gvClose
func gvClose(c *C.struct_ps_engine, abrupt bool) int64 {
	result := call(c, func(e *engine) int64 {
		e.silent = abrupt
		e.closeSockets()
		e.settle()
		e.flush()
		e.silent = true
		e.stack.Close()
		e.removeInterfaces()
		return 0
	})
	cgo.Handle(c.instance).Delete()
	c.instance = 0
	return result
}

// gvAbandon forgets an instance that has panicked. Its locks may be held for ever, so nothing
// of it is touched: the collector takes what nothing else refers to.
//
//export gvAbandon
func gvAbandon(c *C.struct_ps_engine) int64 {
	if c.instance != 0 {
		cgo.Handle(c.instance).Delete()
	}
	return 0
}

//export gvRun
func gvRun(c *C.struct_ps_engine) int64 {
	return call(c, func(*engine) int64 { return 0 })
}

//export gvFail
func gvFail(c *C.struct_ps_engine, text *C.char) int64 {
	return call(c, func(*engine) int64 { panic(C.GoString(text)) })
}

// number turns an error of netstack's into a result.
func number(err tcpip.Error) int64 {
	if err == nil {
		return 0
	}
	return negative(errno(err))
}
