/*
 * The tape of a World's choices; see tape.h.
 */
#include "world/tape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world/world.h"

#define FIRST_ROOM 64

void tape_open(struct tape *tape)
{
    pthread_mutex_init(&tape->lock, NULL);
}

void tape_close(struct tape *tape)
{
    pthread_mutex_destroy(&tape->lock);
    free(tape->made.choices);
    free(tape->given.choices);
}

/* --- lists --------------------------------------------------------------------------------- */

static bool make_room(struct tape_list *list)
{
    if (list->count < list->room)
        return true;
    uint64_t room = list->room == 0 ? FIRST_ROOM : 2 * list->room;
    struct ps_choice *choices = realloc(list->choices, room * sizeof *choices);
    if (choices == NULL)
        return false;
    list->choices = choices;
    list->room = room;
    return true;
}

static int compare(const struct ps_choice *one, const struct ps_choice *other)
{
    if (one->kind != other->kind)
        return one->kind < other->kind ? -1 : 1;
    if (one->stream != other->stream)
        return one->stream < other->stream ? -1 : 1;
    return one->number < other->number ? -1 : one->number > other->number;
}

/* Where it is, or would be put. */
static uint64_t place_of(const struct tape_list *list, const struct ps_choice *choice)
{
    uint64_t low = 0, high = list->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (compare(&list->choices[middle], choice) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t given(const struct tape *tape, const struct ps_choice *choice)
{
    uint64_t place = place_of(&tape->given, choice);
    if (place == tape->given.count || compare(&tape->given.choices[place], choice) != 0)
        return 0;
    return tape->given.choices[place].value;
}

static void note(struct tape *tape, const struct ps_choice *choice)
{
    if (choice->value == 0)
        return;
    if (make_room(&tape->made))
        tape->made.choices[tape->made.count++] = *choice;
    else
        tape->is_torn = true;
}

/* --- who is next --------------------------------------------------------------------------- */

/* An actor's priority, without a table of them: its number and the seed, mixed. */
static uint64_t priority(const struct tape *tape, uint64_t actor)
{
    struct generator mixed;
    generator_seed(&mixed, tape->seed ^ (actor + 1) * UINT64_C(0x9e3779b97f4a7c15));
    uint64_t found = generator_next(&mixed) | (UINT64_C(1) << 63);
    for (uint32_t i = 0; i < tape->put_behind; i++)
        if (tape->behind[i] == actor)
            found = PS_MOST_CHANGES - i; /* the last to be put there is the very last */
    return found;
}

static size_t highest(const struct tape *tape, const uint64_t *actors, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (priority(tape, actors[i]) > priority(tape, actors[best]))
            best = i;
    return best;
}

/* Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding bugs". */
static size_t by_priority(struct tape *tape, const uint64_t *actors, size_t count)
{
    size_t best = highest(tape, actors, count);
    for (uint32_t i = 0; i < tape->changes; i++)
        if (tape->change_at[i] == tape->steps && tape->put_behind < PS_MOST_CHANGES) {
            tape->behind[tape->put_behind++] = actors[best];
            best = highest(tape, actors, count);
        }
    return best;
}

bool tape_chooses(const struct tape *tape)
{
    return tape->schedule != PS_SCHEDULE_FIFO || tape->replays;
}

size_t tape_next(struct tape *tape, enum ps_choice_kind kind, const uint64_t *actors, size_t count)
{
    if (count < 2 || !tape_chooses(tape))
        return 0;
    pthread_mutex_lock(&tape->lock);
    struct ps_choice choice = {.kind = kind, .number = ++tape->asked[kind == PS_CHOICE_TASK]};
    tape->steps++;
    if (tape->replays)
        choice.value = (int64_t)((uint64_t)given(tape, &choice) % count);
    else if (tape->schedule == PS_SCHEDULE_RANDOM)
        choice.value = (int64_t)(generator_next(&tape->generator) % count);
    else
        choice.value = (int64_t)by_priority(tape, actors, count);
    note(tape, &choice);
    pthread_mutex_unlock(&tape->lock);
    return (size_t)choice.value;
}

/* --- what becomes of frames ---------------------------------------------------------------- */

bool tape_replays(struct tape *tape)
{
    return tape->replays;
}

int64_t tape_value(struct tape *tape, struct ps_choice choice)
{
    pthread_mutex_lock(&tape->lock);
    if (tape->replays)
        choice.value = given(tape, &choice);
    note(tape, &choice);
    pthread_mutex_unlock(&tape->lock);
    return choice.value;
}

bool tape_happens(struct tape *tape, struct ps_choice choice, struct generator *generator,
                  double probability)
{
    /* A number is drawn only for what can happen, so that one setting doesn't move another. */
    choice.value = !tape->replays && probability > 0 && generator_uniform(generator) < probability;
    return (choice.value || tape->replays) && tape_value(tape, choice) != 0;
}

/* --- moments ------------------------------------------------------------------------------- */

struct tape_position tape_position(struct tape *tape)
{
    pthread_mutex_lock(&tape->lock);
    struct tape_position position = {
        tape->generator, {tape->asked[0], tape->asked[1]}, tape->steps, tape->made.count, {0},
        tape->put_behind};
    memcpy(position.behind, tape->behind, sizeof position.behind);
    pthread_mutex_unlock(&tape->lock);
    return position;
}

void tape_return(struct tape *tape, const struct tape_position *position)
{
    pthread_mutex_lock(&tape->lock);
    tape->generator = position->generator;
    memcpy(tape->asked, position->asked, sizeof tape->asked);
    tape->steps = position->steps;
    tape->made.count = position->made;
    memcpy(tape->behind, position->behind, sizeof tape->behind);
    tape->put_behind = position->put_behind;
    pthread_mutex_unlock(&tape->lock);
}

/* --- Python's ------------------------------------------------------------------------------ */

void ps_world_schedule(ps_world *world, enum ps_schedule schedule, uint64_t seed, uint32_t changes,
                       uint64_t steps)
{
    struct tape *tape = &world->tape;
    pthread_mutex_lock(&tape->lock);
    tape->schedule = schedule;
    tape->seed = seed;
    generator_seed(&tape->generator, seed);
    tape->changes = changes < PS_MOST_CHANGES ? changes : PS_MOST_CHANGES;
    for (uint32_t i = 0; i < tape->changes; i++)
        tape->change_at[i] = 1 + generator_next(&tape->generator) % (steps > 0 ? steps : 1);
    pthread_mutex_unlock(&tape->lock);
}

void ps_tape_replay(ps_world *world)
{
    world->tape.replays = true;
}

int ps_tape_put(ps_world *world, const struct ps_choice *choice)
{
    struct tape *tape = &world->tape;
    struct tape_list *list = &tape->given;
    int result = 0;
    pthread_mutex_lock(&tape->lock);
    uint64_t place = place_of(list, choice);
    if (place < list->count && compare(&list->choices[place], choice) == 0) {
        list->choices[place].value = choice->value;
    } else if (make_room(list)) {
        struct ps_choice *here = list->choices + place;
        memmove(here + 1, here, (list->count++ - place) * sizeof *here);
        *here = *choice;
    } else {
        result = -ENOMEM;
    }
    pthread_mutex_unlock(&tape->lock);
    return result;
}

int64_t ps_tape_read(ps_world *world, struct ps_choice *out, uint64_t room)
{
    struct tape *tape = &world->tape;
    pthread_mutex_lock(&tape->lock);
    uint64_t count = tape->made.count < room ? tape->made.count : room;
    if (count > 0)
        memcpy(out, tape->made.choices, count * sizeof *out);
    int64_t result = tape->is_torn ? -ENOMEM : (int64_t)tape->made.count;
    pthread_mutex_unlock(&tape->lock);
    return result;
}

uint32_t ps_tape_next(ps_world *world, const uint64_t *tasks, uint32_t count)
{
    uint32_t most = count < PS_MOST_CHOICES ? count : PS_MOST_CHOICES;
    return (uint32_t)tape_next(&world->tape, PS_CHOICE_TASK, tasks, most);
}

int64_t ps_tape_value(ps_world *world, const struct ps_choice *choice)
{
    return tape_value(&world->tape, *choice);
}
