/*
 * The entries of a table of fixed size: which are free, how one is found by a hash, and which is
 * given up when there is no room. Each step takes the same time however full the table is.
 *
 * Entries are ranked by what they are worth to programs: whether they are sent to, by whom, and
 * whether they are known to be there. A newcomer takes the place of the one that has been longest
 * in the lowest rank.
 */
#ifndef PYSTACK_LWIP_SLOTS_H
#define PYSTACK_LWIP_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NO_SLOT (-1)

#define SLOT_IDLE_MS 60000 /* after which an entry is in use no more */

enum slot_rank {
    SLOT_STRANGER, /* what others tell, and what was never answered for */
    SLOT_ANSWERED, /* it is there, and is sent to because it asks */
    SLOT_AWAITED,  /* a program sends to it, and it is not known to be there */
    SLOT_OURS,     /* a program sends to it, and it is there */
    SLOT_KEPT,     /* stays until it is removed */
    SLOT_FREE,
    SLOT_RANKS,
};

struct slot {
    int16_t chain;         /* the next of the same bucket */
    int16_t before, after; /* of the same rank, in the order in which they got it */
    uint8_t rank;
    bool kept, answered;
    bool used, ours; /* lately: by anybody, by programs */
    uint32_t used_ms, ours_ms;
    uint64_t hash;
};

struct slots {
    struct slot *all;
    int16_t *buckets;
    int16_t count, bucket_count; /* the latter a power of two */
    int16_t first[SLOT_RANKS], last[SLOT_RANKS];
};

#define SLOTS(name, slot_count, hash_count) \
    static struct slot name##_slots[slot_count]; \
    static int16_t name##_buckets[hash_count]; \
    static struct slots name = {.all = name##_slots, \
                                .buckets = name##_buckets, \
                                .count = (slot_count), \
                                .bucket_count = (hash_count)}

void slots_init(struct slots *slots);
/* The first slot of a bucket, and the next one: the caller compares what it looks for. */
int slots_find(const struct slots *slots, uint64_t hash);
int slots_next(const struct slots *slots, int slot);
/* Takes a free slot, for a stranger at first; NO_SLOT: there is none. */
int slots_take(struct slots *slots, uint64_t hash);
/* The slot to give up for an entry that a program wants, or that others want. NO_SLOT: none. */
int slots_victim(const struct slots *slots, bool ours);
void slots_release(struct slots *slots, int slot);

/* What makes an entry worth keeping: it was sent to now; it answered, or was replaced by one that
 * hasn't yet; it is permanent. And time passes. */
void slots_use(struct slots *slots, int slot, bool ours, uint32_t now_ms);
void slots_answered(struct slots *slots, int slot, bool answered);
void slots_keep(struct slots *slots, int slot, bool kept);
void slots_age(struct slots *slots, int slot, uint32_t now_ms);
/* Whether slots_age will change anything: SLOT_IDLE_MS after the moment that it fills in. */
bool slots_will_age(const struct slots *slots, int slot, uint32_t *since_ms);

#endif
