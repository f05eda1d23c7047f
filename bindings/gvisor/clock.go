package main

import (
	"container/heap"
	"math"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// clock is the stack's time, which stands still but for advance. A timer's function never
// runs by itself: the engine fires what is due, one at a time, on the thread that has entered
// it. So no timer races with a frame, and two runs take the same way.
type clock struct {
	mu     sync.Mutex
	now    int64 // nanoseconds
	timers timerHeap
	serial uint64
}

type timer struct {
	clock  *clock
	call   func()
	at     int64
	serial uint64 // among timers of one moment, the one set first fires first
	place  int    // in the heap; -1: not set
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(0, c.now)
}

func (c *clock) NowMonotonic() tcpip.MonotonicTime {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tcpip.MonotonicTime{}.Add(time.Duration(c.now))
}

func (c *clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &timer{clock: c, call: f, place: -1}
	t.Reset(d)
	return t
}

func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.place < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.place)
	return true
}

func (t *timer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.place >= 0 {
		heap.Remove(&c.timers, t.place)
	}
	if d < 0 {
		d = 0
	}
	t.at = math.MaxInt64
	if int64(d) < math.MaxInt64-c.now {
		t.at = c.now + int64(d)
	}
	c.serial++
	t.serial = c.serial
	heap.Push(&c.timers, t)
}

// take gives the next timer that is due at `moment`, and moves the clock to when it was due:
// a timer that is late sees its own moment, or the periods after it would drift.
func (c *clock) take(moment int64) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 || c.timers[0].at > moment {
		return nil
	}
	t := heap.Pop(&c.timers).(*timer)
	if t.at > c.now {
		c.now = t.at
	}
	return t
}

func (c *clock) set(moment int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if moment > c.now {
		c.now = moment
	}
}

// next gives when the next timer is due.
func (c *clock) next() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 || c.timers[0].at == math.MaxInt64 {
		return 0, false
	}
	return c.timers[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || (h[i].at == h[j].at && h[i].serial < h[j].serial)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.place = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = -1
	return t
}
