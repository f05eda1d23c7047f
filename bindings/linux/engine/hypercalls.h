// SPDX-License-Identifier: GPL-2.0
/* What the kernel asks of its host. */
#ifndef PYSTACK_LINUX_HYPERCALLS_H
#define PYSTACK_LINUX_HYPERCALLS_H

#include "engine/linux.h"

/* Connects the kernel's hypercalls to the host. */
void hypercalls_answer(ps_engine *self);

#endif
