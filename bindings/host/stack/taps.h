/*
 * What the services in Python (pystack/serving) are shown, and what they show of an interface.
 */
#ifndef PYSTACK_HOST_TAPS_H
#define PYSTACK_HOST_TAPS_H

#include "stack/stack.h"

/* Under the lock: whether the frame is a service's alone, so that the engine gets none of it. Costs
 * a look into a table where no service listens. */
bool taps_take(ps_stack *stack, uint32_t index);
/* The first of the frames that wait, which is the caller's to free; NULL: none. */
struct tapped_frame *taps_next(ps_stack *stack);
void taps_forget_frames(ps_stack *stack);
/* What the services show of an interface; NULL: nothing. */
const struct ps_serving *taps_of(const ps_stack *stack, uint32_t index);
/* 0 or -ENOMEM; `serving` NULL: none of them runs there. */
int taps_put(ps_stack *stack, uint32_t index, const struct ps_serving *serving);
void taps_drop_all(ps_stack *stack);

#endif
