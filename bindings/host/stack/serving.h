/*
 * When the services in Python run.
 */
#ifndef PYSTACK_HOST_SERVING_H
#define PYSTACK_HOST_SERVING_H

#include "stack/stack.h"

/* Under the lock, given up meanwhile: runs them if they are due. Whoever drives the Stack calls it
 * after each step: so they need no thread, and a clock that is turned by hand turns theirs. */
bool serving_run(ps_stack *stack);

/* Adds to the entry of a listing what the services know of it. */
void serving_show_interface(const ps_stack *stack, struct ps_interface *entry);
void serving_show_address(const ps_stack *stack, struct ps_interface_address *entry);
void serving_show_route(const ps_stack *stack, struct ps_route *entry);
/* The `position`-th of the name servers that they have learnt: 1; 0: there are no more. */
int serving_nameserver_at(const ps_stack *stack, size_t position, struct ps_nameserver *out);

#endif
