/*
 * Whether a Stack in a World does anything by itself.
 */
#ifndef PYSTACK_HOST_ACTS_H
#define PYSTACK_HOST_ACTS_H

#include "world/world.h"

/* Takes the lock: whether it may still send something, or end a wait, though nothing comes to it.
 * By world_enlist: the argument is the Stack. */
enum acts stack_acts(void *stack);

#endif
