/*
 * The lists of those threads that may go on, and of what has something to do.
 */
#include "world/pace.h"
#include "world/world.h"

void turn_append(ps_world *world, ps_turn *turn, int result)
{
    turn->ready = true;
    turn->result = result;
    turn->next_ready = NULL;
    if (world->turn_last != NULL)
        world->turn_last->next_ready = turn;
    else
        world->turn_first = turn;
    world->turn_last = turn;
    pace_wake(world);
}

void turn_withdraw(ps_world *world, ps_turn *turn)
{
    ps_turn **link = &world->turn_first, *before = NULL;
    while (*link != turn) {
        before = *link;
        link = &before->next_ready;
    }
    *link = turn->next_ready;
    if (world->turn_last == turn)
        world->turn_last = before;
    turn->ready = false;
}

void world_append(struct world_member *member)
{
    ps_world *world = member->world;
    if (member->ready)
        return;
    member->ready = true;
    member->next_ready = NULL;
    if (world->ready_last != NULL)
        world->ready_last->next_ready = member;
    else
        world->ready_first = member;
    world->ready_last = member;
    pace_wake(world);
}
