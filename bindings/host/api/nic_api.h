/*
 * The kinds of NIC that Python may make. Each `ps_nic_*` constructor returns NULL and sets
 * *error (a positive errno) on failure. The caller owns one reference.
 */
#ifndef PYSTACK_HOST_NIC_API_H
#define PYSTACK_HOST_NIC_API_H

#include "engine.h"

typedef struct ps_nic ps_nic;

struct ps_nic_statistics {
    uint64_t sent_frames, sent_bytes, received_frames, received_bytes, dropped_frames;
};

void ps_nic_release(ps_nic *nic);
void ps_nic_describe(ps_nic *nic, uint32_t *mtu, uint8_t *layer, bool *has_mac, uint8_t *mac,
                     bool *attached);
/* enum ps_offloads: what a Stack may leave to its far end, or leaves undone in what comes. */
uint32_t ps_nic_offloads(ps_nic *nic);

/* How many queues its device has, 1 if it is not shared, and which one this is. */
unsigned ps_nic_queues(ps_nic *nic, unsigned *place);

/* A NIC without a Stack, so that a program can be a wire's far end itself. -EBUSY while
 * it is held. A frame's length, or -EAGAIN. */
int ps_nic_transmit(ps_nic *nic, const uint8_t *frame, size_t size, uint64_t now_us);
int64_t ps_nic_receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us);
/* Waits until `receive` may have something: 1; 0: the time is over; -EINTR. */
int ps_nic_wait(ps_nic *nic, int64_t timeout_us);

/* Two ends of an in-memory wire. `offloads`: what a Stack at one end may leave undone; an end
 * that is not a Stack's finishes it. */
int ps_nic_wire(uint32_t mtu, uint8_t layer, size_t queue_frames, uint32_t offloads, ps_nic **left,
                ps_nic **right);

/* A learning Ethernet switch and its ports; the ports keep it alive. */
typedef struct ps_switch ps_switch;
ps_switch *ps_switch_create(uint32_t mtu, int *error);
ps_nic *ps_switch_port(ps_switch *fabric, int *error);
void ps_switch_release(ps_switch *fabric);

enum ps_framing {
    PS_FRAMING_DATAGRAM,
    PS_FRAMING_LENGTH_16,
    PS_FRAMING_LENGTH_32,
    PS_FRAMING_VIRTIO,
    PS_FRAMING_IP
};
/* Frames over a descriptor: one a read (TAP, TUN, AF_PACKET, datagram sockets), or behind a
 * big-endian length in a stream; or one a read behind virtio's header, which says what is left
 * undone in it. Takes the descriptor over, and makes it non-blocking. */
ps_nic *ps_nic_descriptor(int fd, enum ps_framing framing, uint8_t layer, uint32_t mtu, int *error);
/* Linux: opens or makes a TAP (layer 2) or TUN (layer 3). `name` is changed to the real one.
 * `offload`: let the kernel cut segments and finish checksums, if it does. `queues`: 1, or one of
 * so many queues of a device that others share: all have to say the same number. */
ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, bool offload, unsigned queues,
                      int *error);
/* Linux: a packet socket on an existing device (promiscuous if asked). */
ps_nic *ps_nic_packet(const char *device, bool promiscuous, int *error);

/* A NIC whose far end is Python: `transmit` gets each outgoing frame (flat, borrowed). */
ps_nic *ps_nic_python(void *python,
                      int (*transmit)(void *python, const uint8_t *frame, size_t size),
                      uint8_t layer, uint32_t mtu, size_t queue_frames, int *error);
int ps_nic_python_deliver(ps_nic *nic, const uint8_t *frame, size_t size);

/* A NIC whose far end is a tunnel in Python. Both calls are made under the Stack's lock, with the
 * Stack's time, and leave when `run` is to be called although nothing else calls for it. */
/* Outgoing frames, cut from one, with the same addresses: borrowed, each from the next multiple of
 * 16, with zeros up to there. */
typedef int ps_tunnel_transmit(void *python, const uint8_t *frames, const uint32_t *sizes,
                               size_t count, uint64_t now_us, uint64_t *deadline_us);
/* `descriptor` is readable, the deadline has come, or ps_nic_tunnel_wake was called. */
typedef int ps_tunnel_run(void *python, uint64_t now_us, uint64_t *deadline_us);
/* `descriptor`: duplicated; -1: none. */
ps_nic *ps_nic_tunnel(void *python, ps_tunnel_transmit *transmit, ps_tunnel_run *run,
                      int descriptor, uint8_t layer, uint32_t mtu, size_t queue_frames, int *error);
/* For `run`: frames that have arrived, which are copied. How many there was room for. */
int ps_nic_tunnel_deliver(ps_nic *nic, const uint8_t *frames, const uint32_t *offsets,
                          const uint32_t *sizes, size_t count);
/* Has `run` called soon. From any thread. */
void ps_nic_tunnel_wake(ps_nic *nic);

/* What a wait gives (as a negative number) in the thread that carries the Stack's frames. */
enum { PS_CARRIED = 4001 };
/* A NIC whose frames a program carries. `queue_bytes`: no less than a packet of the MTU. Eight
 * bytes are written to `bell` (which stays the program's) when there is again what it found
 * missing: frames to take, room to put some. */
ps_nic *ps_nic_carried(uint8_t layer, uint32_t mtu, size_t queue_frames, size_t queue_bytes,
                       int bell, int *error);
/* Whether a Stack, or a NIC around it, has it. When one lets it go the bell rings. */
bool ps_nic_carried_is_held(ps_nic *nic);
/* Says that this thread carries them from now on, and so must not wait for them. */
void ps_nic_carried_here(ps_nic *nic);
/* The wire is gone: the Stack takes the link down when it has received what came before. */
void ps_nic_carried_end(ps_nic *nic, int error);
/* Frames that go out, one after the other as `framing` has them (PS_FRAMING_IP, _DATAGRAM: as they
 * are), into at least PS_FRAME_SIZE + 4 bytes: how many, with their sizes and the sum of these. 0:
 * none, the bell will ring. */
int64_t ps_nic_carried_take(ps_nic *nic, enum ps_framing framing, uint8_t *out, size_t room,
                            uint32_t *sizes, size_t most, size_t *total);
/* Frames that have come, as `framing` has them: the bytes of those taken in; -EPROTO: no frame
 * begins so; -EMSGSIZE. `is_full`: there is no room for the next, the bell will ring. */
int64_t ps_nic_carried_put(ps_nic *nic, enum ps_framing framing, const uint8_t *bytes, size_t size,
                           bool *is_full);
/* Has the Stack receive them: after as many as there are, for it acknowledges them together. */
void ps_nic_carried_wake(ps_nic *nic);

/* Wrappers; each holds its inner NIC. */
enum ps_capture_format { PS_CAPTURE_PCAP, PS_CAPTURE_PCAPNG };
/* `epoch_us`: the wall's time at 0 of the Stack's clock; below 0: as it is at the first frame. */
ps_nic *ps_nic_capture(ps_nic *inner, const char *path, enum ps_capture_format format,
                       uint32_t snap_length, int64_t epoch_us, int *error);
int ps_nic_capture_flush(ps_nic *nic);
/* Of all captures of this process. */
void ps_captures_flush(void);

struct ps_impairment { /* one direction; probabilities are 0 to 1 */
    double loss, duplicate, corrupt, reorder;
    uint64_t delay_us, jitter_us, reorder_delay_us;
    uint64_t rate_bits_per_second; /* 0: no limit */
    size_t queue_frames;           /* what waits for the rate or the delay */
};
ps_nic *ps_nic_impair(ps_nic *inner, const struct ps_impairment *outgoing,
                      const struct ps_impairment *incoming, uint64_t seed, int *error);
int ps_nic_impair_set(ps_nic *nic, const struct ps_impairment *outgoing,
                      const struct ps_impairment *incoming);
/* Calls `function` with each frame of both directions, and `nic` to name it by: what becomes of the
 * frame is what that puts, any number of frames. A negative result: it has failed, and the frame is
 * lost. */
ps_nic *ps_nic_tamper(ps_nic *inner,
                      int (*function)(void *python, ps_nic *nic, bool outgoing,
                                      const uint8_t *frame, size_t size, uint64_t now_us),
                      void *python, size_t queue_frames, int *error);
/* From inside `function` alone: a frame that leaves, or arrives, in so many microseconds. */
int ps_nic_tamper_put(ps_nic *nic, bool outgoing, const uint8_t *frame, size_t size,
                      uint64_t later_us);
/* From any thread: a frame as if it had been put, and at once. */
int ps_nic_tamper_inject(ps_nic *nic, bool outgoing, const uint8_t *frame, size_t size);
/* Writes the checksums of a frame's IPv4 header, TCP, UDP, ICMP and ICMPv6, behind VLAN tags too;
 * before that, if asked, the lengths of IP and UDP, to take in all that there is. What is no whole
 * packet, or a fragment, keeps what can't be computed. */
void ps_frame_refresh(uint8_t *frame, size_t size, uint8_t layer, bool lengths);

int ps_nic_statistics(ps_nic *nic, struct ps_nic_statistics *out);

#endif
