// SPDX-License-Identifier: GPL-2.0
/* What the kernel doesn't say about its settings: bounds and meaning. */
#ifndef PYSTACK_LINUX_SYSCTL_KNOWN_H
#define PYSTACK_LINUX_SYSCTL_KNOWN_H

#include <stdint.h>

struct sysctl_known {
    const char *name; /* `*` stands for an interface, `all` or `default` */
    int64_t minimum, maximum;
    const char *description;
};

/* NULL: not known here. */
const struct sysctl_known *sysctl_known(const char *name);

#endif
