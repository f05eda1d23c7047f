/*
 * What a Stack's TCP sockets do, for the trace of its World.
 */
#ifndef PYSTACK_HOST_WITNESS_H
#define PYSTACK_HOST_WITNESS_H

#include "stack/stack.h"

struct witness;

/* Notes what has changed since the last look; from inside the engine. Nothing where no trace is
 * kept. */
void witness_look(ps_stack *stack);
/* The Stack is as it was at another moment: what is there is taken for known. */
void witness_reset(ps_stack *stack);
void witness_free(struct witness *witness);

#endif
