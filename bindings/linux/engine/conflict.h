// SPDX-License-Identifier: GPL-2.0
/*
 * Address conflict detection for IPv4 (RFC 5227), which Linux leaves to programs. An address that
 * is being checked, or is another host's, is listed but the kernel doesn't have it.
 */
#ifndef PYSTACK_LINUX_CONFLICT_H
#define PYSTACK_LINUX_CONFLICT_H

#include "engine/linux.h"

struct conflict_watch {
    struct conflict_watch *next;
    uint32_t interface;
    struct ps_address address;
    uint8_t state;       /* enum ps_address_state; the kernel has it when it is PREFERRED */
    unsigned probes;     /* that were sent */
    unsigned announced;  /* how often */
    uint64_t due_us;     /* when the next step is; UINT64_MAX: never */
    uint64_t defence_us; /* when it was defended; 0: never */
};

/* Begins to check an address before it is used. -EEXIST, -ENOMEM. */
int conflict_check(ps_engine *self, uint32_t index, const struct ps_address *address);
/* Starts again: the link has come back and may be another one (RFC 5227 2.1). Addresses in use
 * stay in use: with the last one the kernel would drop the interface's routes. */
void conflict_check_again(ps_engine *self, uint32_t index);

/* The watch over an address, or NULL. */
struct conflict_watch *conflict_find(ps_engine *self, uint32_t index,
                                     const struct ps_address *address);
void conflict_forget(ps_engine *self, struct conflict_watch *watch);
/* Forgets those of an interface that is gone. */
void conflict_forget_interface(ps_engine *self, uint32_t index);

/* The address at `position` among those the kernel doesn't have: 1, or 0 past the end. */
int conflict_at(const ps_engine *self, size_t position, struct ps_interface_address *out);

/* Reads other hosts' ARP; to be called on the event of `self->conflict_socket`. */
void conflict_hear(ps_engine *self);
/* Does what is due. */
void conflict_run(ps_engine *self);
/* When something is; UINT64_MAX: never. */
uint64_t conflict_deadline(const ps_engine *self);

#endif
