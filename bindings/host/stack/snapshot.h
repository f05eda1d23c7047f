/*
 * Snapshots: the calls of host_api.h, while no other process uses the Stack.
 */
#ifndef PYSTACK_HOST_SNAPSHOT_H
#define PYSTACK_HOST_SNAPSHOT_H

#include "stack/stack.h"

int snapshot_create(ps_stack *stack, ps_snapshot **out);
int snapshot_restore(ps_stack *stack, ps_snapshot *snapshot);

#endif
