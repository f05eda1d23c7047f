/*
 * A World in real time: its clock, which the machine's holds back, and what comes from outside.
 */
#ifndef PYSTACK_HOST_PACE_H
#define PYSTACK_HOST_PACE_H

#include "base/doorbell.h"
#include "nic/nic.h"
#include "world/world.h"

enum { MOST_WATCHED = 128 };

/* A NIC that other things than the World's put frames into. */
struct watched {
    struct world_member *member; /* which asks it for them */
    const ps_nic *nic;
    int descriptors[2]; /* -1: none; it wakes the member itself */
};

struct pace {
    uint64_t lead_us;          /* the machine's clock, where the World's is 0; it may wrap */
    _Atomic uint64_t until_us; /* a thread waits for this moment of the World's; 0: none does */
    struct doorbell bell;      /* ends that wait */
    uint64_t silence_us;       /* after which timers count for nothing that may be for nothing */
    bool interrupted;          /* the last wait was, by a signal */
    uint32_t expected;
    uint32_t steps, ready_run;
    struct watched watched[MOST_WATCHED];
    size_t watched_count;
};

/* All under the World's lock, but for pace_free. */
void pace_free(struct pace *pace);
/* As if the World had been on time until now. */
void pace_start_anew(ps_world *world);
/* The machine's clock, as the World's reads when it is on time. */
uint64_t pace_machines_us(const struct pace *pace);
/* Ends the wait, where a thread waits. */
void pace_end_wait(ps_world *world);
static inline void pace_wake(ps_world *world)
{
    if (world->pace != NULL)
        pace_end_wait(world);
}
/* Whether something may still come from outside. */
bool pace_expects(const ps_world *world);
/* Whether nothing has happened for so long, and nothing comes from outside. */
bool pace_is_silent(const ps_world *world, uint64_t busy_us);
/* In real time: where something may, the clock follows the machine's, to the next event at most.
 * Whether that event is to go before what is ready, of which there is no end. */
bool pace_keeps_up(ps_world *world, const struct world_event *next);
/* outside.c, in real time: waits for the next event's moment (NULL: there is none), or until
 * something comes; false: it was not to be waited for. It gives up the lock meanwhile. */
bool pace_waits(ps_world *world, const struct world_event *next);

#endif
