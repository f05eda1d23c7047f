/*
 * See slots.h.
 */
#include "base/slots.h"

static int16_t *bucket(const struct slots *slots, uint64_t hash)
{
    return &slots->buckets[hash & (uint64_t)(slots->bucket_count - 1)];
}

static void append(struct slots *slots, int16_t slot, enum slot_rank rank)
{
    struct slot *entry = &slots->all[slot];
    entry->rank = (uint8_t)rank;
    entry->before = slots->last[rank];
    entry->after = NO_SLOT;
    if (entry->before == NO_SLOT)
        slots->first[rank] = slot;
    else
        slots->all[entry->before].after = slot;
    slots->last[rank] = slot;
}

static void unlink_slot(struct slots *slots, int slot)
{
    const struct slot *entry = &slots->all[slot];
    if (entry->before == NO_SLOT)
        slots->first[entry->rank] = entry->after;
    else
        slots->all[entry->before].after = entry->after;
    if (entry->after == NO_SLOT)
        slots->last[entry->rank] = entry->before;
    else
        slots->all[entry->after].before = entry->before;
}

void slots_init(struct slots *slots)
{
    for (int i = 0; i < slots->bucket_count; i++)
        slots->buckets[i] = NO_SLOT;
    for (int rank = 0; rank < SLOT_RANKS; rank++)
        slots->first[rank] = slots->last[rank] = NO_SLOT;
    for (int16_t i = 0; i < slots->count; i++)
        append(slots, i, SLOT_FREE);
}

int slots_find(const struct slots *slots, uint64_t hash)
{
    return *bucket(slots, hash);
}

int slots_next(const struct slots *slots, int slot)
{
    return slots->all[slot].chain;
}

int slots_take(struct slots *slots, uint64_t hash)
{
    int16_t slot = slots->first[SLOT_FREE];
    if (slot == NO_SLOT)
        return NO_SLOT;
    unlink_slot(slots, slot);
    slots->all[slot] = (struct slot){.hash = hash};
    append(slots, slot, SLOT_STRANGER);
    slots->all[slot].chain = *bucket(slots, hash);
    *bucket(slots, hash) = slot;
    return slot;
}

int slots_victim(const struct slots *slots, bool ours)
{
    enum slot_rank highest = ours ? SLOT_OURS : SLOT_ANSWERED;
    for (enum slot_rank rank = SLOT_STRANGER; rank <= highest; rank++)
        if (slots->first[rank] != NO_SLOT)
            return slots->first[rank];
    return NO_SLOT;
}

/* Makes a slot the youngest of a rank. */
static void move(struct slots *slots, int slot, enum slot_rank rank)
{
    unlink_slot(slots, slot);
    append(slots, (int16_t)slot, rank);
}

void slots_release(struct slots *slots, int slot)
{
    int16_t *link = bucket(slots, slots->all[slot].hash);
    while (*link != slot)
        link = &slots->all[*link].chain;
    *link = slots->all[slot].chain;
    move(slots, slot, SLOT_FREE);
}

/* --- worth -------------------------------------------------------------------------------- */

static void rank(struct slots *slots, int slot)
{
    const struct slot *entry = &slots->all[slot];
    enum slot_rank worth = SLOT_STRANGER;
    if (entry->kept)
        worth = SLOT_KEPT;
    else if (entry->ours)
        worth = entry->answered ? SLOT_OURS : SLOT_AWAITED;
    else if (entry->used && entry->answered)
        worth = SLOT_ANSWERED;
    move(slots, slot, worth);
}

void slots_use(struct slots *slots, int slot, bool ours, uint32_t now_ms)
{
    enum { REFRESH_MS = 1000 };
    struct slot *entry = &slots->all[slot];
    if (ours ? entry->ours && now_ms - entry->ours_ms < REFRESH_MS
             : entry->used && now_ms - entry->used_ms < REFRESH_MS)
        return;
    entry->used = true;
    entry->used_ms = now_ms;
    if (ours) {
        entry->ours = true;
        entry->ours_ms = now_ms;
    }
    rank(slots, slot);
}

void slots_answered(struct slots *slots, int slot, bool answered)
{
    if (slots->all[slot].answered == answered)
        return;
    slots->all[slot].answered = answered;
    rank(slots, slot);
}

void slots_keep(struct slots *slots, int slot, bool kept)
{
    if (slots->all[slot].kept == kept)
        return;
    slots->all[slot].kept = kept;
    rank(slots, slot);
}

void slots_age(struct slots *slots, int slot, uint32_t now_ms)
{
    struct slot *entry = &slots->all[slot];
    bool used = entry->used && now_ms - entry->used_ms < SLOT_IDLE_MS;
    bool ours = entry->ours && now_ms - entry->ours_ms < SLOT_IDLE_MS;
    if (used == entry->used && ours == entry->ours)
        return;
    entry->used = used;
    entry->ours = ours;
    rank(slots, slot);
}

/* What programs use is used: its own moment is the earlier one. */
bool slots_will_age(const struct slots *slots, int slot, uint32_t *since_ms)
{
    const struct slot *entry = &slots->all[slot];
    *since_ms = entry->ours ? entry->ours_ms : entry->used_ms;
    return entry->used || entry->ours;
}
