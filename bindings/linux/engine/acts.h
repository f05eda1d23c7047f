/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PYSTACK_LINUX_ACTS_H
#define PYSTACK_LINUX_ACTS_H

#include "engine/linux.h"

/* Whether the kernel does anything by itself: 1, 0, -ENOENT if that can't be said, or another
 * negative errno. */
int acts_alone(ps_engine *self);

#endif
