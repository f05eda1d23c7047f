/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_READY_H
#define ANYK_READY_H

/* In process 1, before a descriptor is closed: it is watched no longer. */
void anyk_forget(unsigned fd);

#endif
