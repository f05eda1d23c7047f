/*
 * What engine.c starts and ends, and what the tables have of the whole engine.
 */
#ifndef PYSTACK_LWIP_TABLES_H
#define PYSTACK_LWIP_TABLES_H

#include <stdbool.h>

void interfaces_init(void);
void interfaces_close_all(void);
void sysctl_init(void);
/* acts.c: whether a timer may send a frame, or change what a socket's call says, though nothing
 * comes and nobody calls. Timers that only forget what is old don't count. */
bool acts_alone(void);

#endif
