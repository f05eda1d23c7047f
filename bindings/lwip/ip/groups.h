/*
 * When lwIP's timers of multicast groups (IGMP, MLD) have something to do: see timeouts.h.
 */
#ifndef PYSTACK_LWIP_GROUPS_H
#define PYSTACK_LWIP_GROUPS_H

#include <stdint.h>

uint64_t igmp_work_ms(uint64_t next_ms);
void igmp_skip(uint32_t calls);
uint64_t mld_work_ms(uint64_t next_ms);
void mld_skip(uint32_t calls);

#endif
