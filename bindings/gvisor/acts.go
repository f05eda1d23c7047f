package main

// #include "shim.h"
import "C"

import (
	"reflect"
	"runtime"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The setting by which the host asks; it is in no list.
const actsAloneName = "pystack.acts_alone"

// Timers that lead to no frame and end no wait, by what they call. Those of neighbours do where
// their states say so.
var lookAfterTables = []string{
	"tcpip/stack.(*neighborEntry).",
	"tcpip/transport/tcp.(*endpoint).timeWaitTimerExpired",
}

func (t *timer) looksAfterTables() bool {
	name := runtime.FuncForPC(reflect.ValueOf(t.call).Pointer()).Name()
	for _, each := range lookAfterTables {
		if strings.Contains(name, each) {
			return true
		}
	}
	return false
}

func (c *clock) actsAlone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, each := range c.timers {
		if !each.looksAfterTables() {
			return true
		}
	}
	return false
}

// actsAlone says whether a timer of the stack's may send a frame, or change what a socket's call
// says.
func (e *engine) actsAlone() bool {
	if e.clock.actsAlone() {
		return true
	}
	for _, each := range e.neighbours() {
		switch each.State {
		case stack.Incomplete, stack.Delay, stack.Probe:
			return true
		}
	}
	return false
}

func (e *engine) describeActs(out *C.struct_ps_tunable) {
	*out = C.struct_ps_tunable{maximum: 1}
	setText(out.name[:], actsAloneName)
	if e.actsAlone() {
		out.value = 1
	}
}
