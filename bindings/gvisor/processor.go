package main

import (
	"errors"
	"reflect"
	"sync"
	"unsafe"

	"gvisor.dev/gvisor/pkg/sleep"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// processor runs netstack's TCP on the thread that has entered the engine.
//
// netstack queues each segment for one of its goroutines, one for each CPU. Here those
// goroutines are told to end as soon as they have begun, and the loop that they ran is called
// in place whenever something is queued. This way what a segment leads to has happened when
// the entry returns, in an order that doesn't depend on the scheduler; no thread is switched;
// and a Go panic in TCP is caught like any other, where on a goroutine of netstack's it would
// end the process.
//
// The loop and its queue are unexported. They are found by name, and a release of netstack in
// which they are called otherwise is refused by the linker or by newProcessor.
type processor struct {
	loop    unsafe.Pointer // *tcp.processor
	first   *unsafe.Pointer
	sleeper *sleep.Sleeper
	work    *sleep.Waker
	stop    *sleep.Waker
	running sync.WaitGroup // what the loop says good-bye to
}

//go:linkname runLoop gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*processor).start
func runLoop(loop unsafe.Pointer, running *sync.WaitGroup)

var errOtherNetstack = errors.New("this release of netstack has its TCP built otherwise")

// field finds a field by its path from a struct on the heap; nil: there is no such field.
func field(from reflect.Value, path ...string) unsafe.Pointer {
	for _, name := range path {
		if from.Kind() != reflect.Struct {
			return nil
		}
		if from = from.FieldByName(name); !from.IsValid() {
			return nil
		}
	}
	return unsafe.Pointer(from.UnsafeAddr())
}

func newProcessor(s *stack.Stack) (*processor, error) {
	protocol := s.TransportProtocolInstance(tcp.ProtocolNumber)
	loops := (*[]struct{})(field(reflect.ValueOf(protocol).Elem(), "dispatcher", "processors"))
	if loops == nil {
		return nil, errOtherNetstack
	}
	all := reflect.ValueOf(protocol).Elem().FieldByName("dispatcher").FieldByName("processors")
	for i := 0; i < all.Len(); i++ {
		stop := (*sleep.Waker)(field(all.Index(i), "closeWaker"))
		if stop == nil {
			return nil, errOtherNetstack
		}
		stop.Assert()
	}
	protocol.Wait()
	one := all.Index(0)
	// The others are never chosen any more: which one is, is a hash modulo their number.
	*loops = (*loops)[:1]
	p := &processor{
		loop:    unsafe.Pointer(one.UnsafeAddr()),
		first:   (*unsafe.Pointer)(field(one, "epQ", "list", "head")),
		sleeper: (*sleep.Sleeper)(field(one, "sleeper")),
		work:    (*sleep.Waker)(field(one, "newEndpointWaker")),
		stop:    (*sleep.Waker)(field(one, "closeWaker")),
	}
	if p.first == nil || p.sleeper == nil || p.work == nil {
		return nil, errOtherNetstack
	}
	return p, nil
}

// drain processes all queued segments; false: there were none.
func (p *processor) drain() bool {
	if *p.first == nil {
		return false
	}
	// The loop takes its wakers in the order in which they were asserted: the work first,
	// all of it, then the end. It forgets them as it ends.
	p.work.Assert()
	p.sleeper.AddWaker(p.work)
	p.stop.Clear()
	p.sleeper.AddWaker(p.stop)
	p.stop.Assert()
	p.running.Add(1)
	runLoop(p.loop, &p.running)
	return true
}
