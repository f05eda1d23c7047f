/*
 * Taking what is for other hosts, as the engine's main file has to know of it.
 */
#ifndef PYSTACK_LWIP_INTERCEPT_H
#define PYSTACK_LWIP_INTERCEPT_H

#include "engine.h"

void intercept_init(void);
/* Whether packets have been sent in the name of other hosts. */
bool intercept_has_been(void);
/* Whether what belongs to a protocol is taken, whatever its address. */
bool intercept_takes(uint8_t protocol);
/* When the first flow is due; UINT64_MAX: none. */
uint64_t intercept_next_us(void);
void intercept_run(void);

#endif
