// SPDX-License-Identifier: GPL-2.0
/* The addresses that the kernel has. */
#ifndef PYSTACK_LINUX_KERNEL_ADDRESS_H
#define PYSTACK_LINUX_KERNEL_ADDRESS_H

#include "engine/linux.h"

/* `flags`: IFA_F_*. -EEXIST. */
int kernel_address_add(ps_engine *self, uint32_t index, const struct ps_address *address,
                       uint32_t flags);
int kernel_address_at(ps_engine *self, size_t position, struct ps_interface_address *out);
/* With its prefix length; that of `wanted` is ignored. -EADDRNOTAVAIL. */
int kernel_address_find(ps_engine *self, uint32_t index, const struct ps_address *wanted,
                        struct ps_address *out);
/* -EADDRNOTAVAIL. */
int kernel_address_remove(ps_engine *self, uint32_t index, const struct ps_address *address);

/* Whether connections may begin from it while there is another. -EADDRNOTAVAIL. */
int kernel_address_prefer(ps_engine *self, uint32_t index, const struct ps_address *address,
                          bool preferred);

#endif
