/*
 * A Stack's NICs.
 */
#ifndef PYSTACK_HOST_ATTACH_H
#define PYSTACK_HOST_ATTACH_H

#include "stack/stack.h"

void detach_all(ps_stack *stack);

#endif
