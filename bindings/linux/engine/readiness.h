// SPDX-License-Identifier: GPL-2.0
/* What sockets are ready for, and the events that say so. */
#ifndef PYSTACK_LINUX_READINESS_H
#define PYSTACK_LINUX_READINESS_H

#include "engine/linux.h"

/* Notes that what a descriptor is ready for may have changed; `mask` are poll's bits, or 0. */
void readiness_note(ps_engine *self, int fd, unsigned mask);
/* Tells the host of all that was noted. */
void readiness_tell(ps_engine *self);

#endif
