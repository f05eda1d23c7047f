/*
 * What has work of its own in a World, and when.
 */
#include <stdlib.h>

#include "world/store.h"
#include "world/world.h"

static void fall_due(struct world_event *event)
{
    world_ready((struct world_member *)event);
}

struct world_member *world_enlist(ps_world *world, void (*move)(void *argument),
                                  enum acts (*acts)(void *argument), void *argument)
{
    struct world_member *member = calloc(1, sizeof *member);
    if (member == NULL)
        return NULL;
    member->event.happen = fall_due;
    member->event.kind = EVENT_MEMBER;
    member->world = world_hold(world);
    member->move = move;
    member->acts = acts;
    member->argument = argument;
    pthread_mutex_lock(&world->lock);
    member->number = ++world->member_count;
    pthread_mutex_unlock(&world->lock);
    if (world_keep(world, member, sizeof *member) < 0) {
        free(member);
        ps_world_release(world);
        return NULL;
    }
    return member;
}

void world_dismiss(struct world_member *member)
{
    ps_world *world = member->world;
    world_unwatch(member, NULL);
    pthread_mutex_lock(&world->lock);
    world_await(world, &member->event);
    world_take_out(world, &member->event);
    struct world_member **link = &world->ready_first, *last = NULL;
    while (*link != NULL && *link != member) {
        last = *link;
        link = &last->next_ready;
    }
    if (*link == member) {
        *link = member->next_ready;
        if (world->ready_last == member)
            world->ready_last = last;
    }
    pthread_mutex_unlock(&world->lock);
    world_unkeep(world, member);
    free(member);
    ps_world_release(world);
}

void world_ready(struct world_member *member)
{
    pthread_mutex_lock(&member->world->lock);
    world_append(member);
    pthread_mutex_unlock(&member->world->lock);
}

void world_due(struct world_member *member, uint64_t due_us)
{
    /* Without memory it is moved at once, and so is asked again. */
    if (world_set(member->world, &member->event, due_us) < 0)
        world_ready(member);
}
