/*
 * The tape: all that chance decides in a World, in order that it can be read, changed and played
 * again.
 *
 * Only what differs from the ordinary is on it (the first in the queue goes on, a frame arrives as
 * it was sent), so that each entry left out is one surprise less.
 */
#ifndef PYSTACK_HOST_TAPE_H
#define PYSTACK_HOST_TAPE_H

#include <pthread.h>
#include <stdbool.h>

#include "api/world_api.h"
#include "base/generator.h"

struct tape_list {
    struct ps_choice *choices;
    uint64_t count, room;
};

struct tape {
    pthread_mutex_t lock; /* the last to be taken */
    struct tape_list made, given;
    bool replays; /* what isn't given doesn't happen */
    bool is_torn; /* for want of memory something is missing */
    enum ps_schedule schedule;
    struct generator generator;
    uint64_t seed, asked[2], steps; /* choices of each kind, and of both */
    /* PCT: at which steps the one that would be next is put behind all others. */
    uint64_t change_at[PS_MOST_CHANGES], behind[PS_MOST_CHANGES];
    uint32_t changes, put_behind;
};

/* How far it is. */
struct tape_position {
    struct generator generator;
    uint64_t asked[2], steps, made, behind[PS_MOST_CHANGES];
    uint32_t put_behind;
};

void tape_open(struct tape *tape);
void tape_close(struct tape *tape);
/* Whether it is ever another than the first that is next. */
bool tape_chooses(const struct tape *tape);
/* Which of several actors, known by their numbers, is next: a place below `count`. */
size_t tape_next(struct tape *tape, enum ps_choice_kind kind, const uint64_t *actors, size_t count);
/* Whether the tape, or chance, does this to a frame. */
bool tape_happens(struct tape *tape, struct ps_choice choice, struct generator *generator,
                  double probability);
/* The value that the tape has, or else the choice's own, which is drawn. */
int64_t tape_value(struct tape *tape, struct ps_choice choice);
struct tape_position tape_position(struct tape *tape);
void tape_return(struct tape *tape, const struct tape_position *position);
/* Whether it is played, so that nothing is to be drawn. */
bool tape_replays(struct tape *tape);

#endif
