/*
 * What TCP's timers (tcp_timer.c) keep of a connection. lwIP's configuration includes this, for
 * lwIP's own struct holds it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_TIMER_H
#define PYSTACK_LWIP_TCP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_pcb;

/* Times are the Stack's clock, microseconds. */
struct tcp_timer {
    /* Among those that something is due for (tcp_timer_heap.c); `link` is NULL outside. */
    struct tcp_pcb *child, *sibling, **link;
    uint64_t due_us; /* not later than it is due: one that moves on is seen to when it is reached */
    /* Among those that something has happened to since their timers were set. */
    struct tcp_pcb *touched_next, **touched_link;
    /* Among the orphans (tcp_orphan.c). */
    struct tcp_pcb *orphan_next, **orphan_link;
    uint8_t state; /* as it was seen last, and whether its user had closed it */
    bool closed;
    bool probing;             /* by sending again what lies behind the window */
    uint64_t state_us;        /* since when it is so */
    uint64_t begin_us;        /* since when it is ESTABLISHED */
    uint64_t answer_us;       /* what is owed goes then: an acknowledgement, a FIN; 0: nothing is */
    uint64_t push_us;         /* what waits to be sent is tried again then; 0: nothing does */
    uint64_t probed_us;       /* the last keep-alive was sent */
    uint8_t hold;             /* TCP_HOLD_...: a short last segment waits for more */
    uint64_t held_until_us;   /* for so long; 0: none waits */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0: none */
    int32_t linger2_s;        /* TCP_LINGER2; 0: as the sysctl says, -1: at once */
    bool watches_unsent;      /* TCP_NOTSENT_LOWAT: a writer waits for data to leave */
    bool was_writable;
    bool is_interactive; /* what comes is answered with data, which acknowledges it */
};

/* Until the user uncorks it (TCP_CORK), or until something comes from the peer (MSG_MORE). */
enum { TCP_HOLD_CORK = 1, TCP_HOLD_MORE = 2 };

#define TCP_RTO_MAX_MS 120000U /* the longest timeout, and gap between window probes (Linux) */

#define LWIP_TCP_CUSTOM_TIMERS 1
#define LWIP_TCP_PCB_TIMER struct tcp_timer timer;
#define LWIP_TCP_TIMER_T int64_t
#define LWIP_TCP_TIMER_START tcp_timer_now_us()
#define LWIP_TCP_ROUND_TRIP_START ((uint32_t)tcp_timer_now_us() | 1) /* 0: none is measured */
#define LWIP_HOOK_TCP_ROUND_TRIP(pcb) \
    tcp_round_trip(pcb, (uint32_t)tcp_timer_now_us() + 1 - (pcb)->rttest) /* it was made odd */
#define LWIP_HOOK_TCP_TOUCHED(pcb) tcp_timer_touch(pcb)
#define LWIP_HOOK_TCP_HOLDS(pcb, seg) ((pcb)->timer.hold != 0 && tcp_timer_holds(pcb, seg))

int64_t tcp_timer_now_us(void);
/* Something happens to the connection: its timers are reset before the engine is left. */
void tcp_timer_touch(struct tcp_pcb *pcb);
struct tcp_seg;
/* Whether this segment, the next to be sent, is what the user wants to be held. */
bool tcp_timer_holds(const struct tcp_pcb *pcb, const struct tcp_seg *segment);
/* Sends what is held now. */
void tcp_timer_release(struct tcp_pcb *pcb);
/* One of those that something has happened to, which is then none of them; NULL: no more. */
struct tcp_pcb *tcp_timer_take_touched(void);
/* The PCB is about to be freed. */
void tcp_timer_forget(struct tcp_pcb *pcb);
/* Does what is due, once for each connection however late it is. */
void tcp_timer_run(void);
/* When something is due; UINT64_MAX: never. */
uint64_t tcp_timer_next_us(void);

/* Whether a timer may send something, or end a connection. */
bool tcp_timer_acts_alone(void);

/* tcp_timer_heap.c: the PCBs by `due_us`. */
struct tcp_pcb *tcp_timer_heap_first(void);
void tcp_timer_heap_add(struct tcp_pcb *pcb);
void tcp_timer_heap_remove(struct tcp_pcb *pcb);

/* tcp_round_trip.c: takes in a round trip, and sets the retransmission timeout by it. */
void tcp_round_trip(struct tcp_pcb *pcb, uint32_t rtt_us);
/* Forgets that the timeout was backed off. */
void tcp_timeout_reset(struct tcp_pcb *pcb);

/* tcp_orphan.c: connections that were closed and still have something to deliver. */
void tcp_orphan_add(struct tcp_pcb *pcb);
void tcp_orphan_forget(struct tcp_pcb *pcb);
/* Resets as many as there are too many. */
void tcp_orphan_limit(void);
bool tcp_is_orphan(const struct tcp_pcb *pcb);
/* The peer has acknowledged something. */
void tcp_orphan_progress(struct tcp_pcb *pcb);
/* How often its segments, or its window probes, may go unanswered. */
uint8_t tcp_orphan_retries(uint64_t timeout_ms);
/* Whether one with a closed window has been asked often enough. */
bool tcp_orphan_is_stuck(const struct tcp_pcb *pcb, uint64_t timeout_ms);
/* Memory has run out: the one that has waited longest makes room. */
void tcp_orphan_shed(void);
/* The engine ends: peers that still wait for something get a reset, the others nothing. */
void tcp_orphan_end_all(void);

#endif
