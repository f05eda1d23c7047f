/*
 * TCP packets beyond 64 KiB (PS_OFFLOAD_TCP4_LONGEST), whole or in long parts.
 */
#ifndef PYSTACK_HOST_LONGEST_H
#define PYSTACK_HOST_LONGEST_H

#include "nic/nic.h"

/* Whether its receiver is the wire's far end itself. */
bool longest_arrives(ps_nic *nic, const struct ps_piece *pieces, uint64_t now_us);
typedef int longest_send(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                         const struct ps_offload *offload, uint64_t now_us);
/* Sends it in parts of up to 64 KiB, each to be cut into segments. -EMSGSIZE: it is no such packet,
 * and nothing was sent. */
int longest_in_parts(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                     const struct ps_offload *offload, uint64_t now_us, longest_send *send);

#endif
