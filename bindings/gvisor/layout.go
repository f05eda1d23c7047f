package main

import (
	"reflect"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// layout is where a TCP endpoint keeps what netstack tells only piecemeal or not at all: how
// much waits in its buffers, and the sender's and receiver's state. Found by name, once.
var layout struct {
	found                      bool
	receiving, sending, inner  uintptr // the buffers' states, in the endpoint
	sender, receiver           uintptr // pointers, in the endpoint
	senderState, receiverState uintptr // in what those point to
}

// offset finds a field, by a path through structs.
func offset(in reflect.Type, path ...string) (uintptr, reflect.Type, bool) {
	total := uintptr(0)
	for _, name := range path {
		if in.Kind() != reflect.Struct {
			return 0, nil, false
		}
		field, found := in.FieldByName(name)
		if !found {
			return 0, nil, false
		}
		total += field.Offset
		in = field.Type
	}
	return total, in, true
}

// findLayout looks once for all, at a stack of its own: an endpoint draws random numbers, and from
// an instance's the first of a process would have others of one seed than those that follow.
func findLayout() error {
	if layout.found {
		return nil
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		Clock:              &clock{},
	})
	defer s.Close()
	endpoint, err := s.NewEndpoint(tcp.ProtocolNumber, header.IPv4ProtocolNumber, &waiter.Queue{})
	if err != nil {
		return errOtherNetstack
	}
	defer endpoint.Close()
	of := reflect.TypeOf(endpoint).Elem()
	complete := true
	find := func(out *uintptr, want reflect.Type, in reflect.Type, path ...string) reflect.Type {
		at, kind, found := offset(in, path...)
		*out = at
		if !found || (want != nil && kind != want) || (want == nil && kind.Kind() != reflect.Ptr) {
			complete = false
			return reflect.TypeOf(struct{}{})
		}
		if want == nil {
			return kind.Elem()
		}
		return kind
	}
	find(&layout.receiving, reflect.TypeOf(stack.TCPRcvBufState{}), of, "TCPRcvBufState")
	find(&layout.sending, reflect.TypeOf(stack.TCPSndBufState{}), of, "sndQueueInfo", "TCPSndBufState")
	find(&layout.inner, reflect.TypeOf(stack.TCPEndpointStateInner{}), of, "TCPEndpointStateInner")
	sender := find(&layout.sender, nil, of, "snd")
	receiver := find(&layout.receiver, nil, of, "rcv")
	find(&layout.senderState, reflect.TypeOf(stack.TCPSenderState{}), sender, "TCPSenderState")
	find(&layout.receiverState, reflect.TypeOf(stack.TCPReceiverState{}), receiver, "TCPReceiverState")
	if !complete {
		return errOtherNetstack
	}
	layout.found = true
	return nil
}

// inside is a TCP endpoint's state, to be read while nothing runs. The last two are nil until
// there is a connection.
type inside struct {
	receiving *stack.TCPRcvBufState
	sending   *stack.TCPSndBufState
	inner     *stack.TCPEndpointStateInner
	sender    *stack.TCPSenderState
	receiver  *stack.TCPReceiverState
}

func look(endpoint tcpip.Endpoint) inside {
	at := reflect.ValueOf(endpoint).UnsafePointer()
	state := inside{
		receiving: (*stack.TCPRcvBufState)(unsafe.Add(at, layout.receiving)),
		sending:   (*stack.TCPSndBufState)(unsafe.Add(at, layout.sending)),
		inner:     (*stack.TCPEndpointStateInner)(unsafe.Add(at, layout.inner)),
	}
	if sender := *(*unsafe.Pointer)(unsafe.Add(at, layout.sender)); sender != nil {
		state.sender = (*stack.TCPSenderState)(unsafe.Add(sender, layout.senderState))
	}
	if receiver := *(*unsafe.Pointer)(unsafe.Add(at, layout.receiver)); receiver != nil {
		state.receiver = (*stack.TCPReceiverState)(unsafe.Add(receiver, layout.receiverState))
	}
	return state
}
