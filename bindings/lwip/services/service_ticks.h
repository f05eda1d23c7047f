/*
 * When lwIP's timers of ACD, DHCP, DHCPv6 and DNS have something to do: see timeouts.h.
 */
#ifndef PYSTACK_LWIP_SERVICE_TICKS_H
#define PYSTACK_LWIP_SERVICE_TICKS_H

#include <stdint.h>

uint64_t acd_work_ms(uint64_t next_ms);
void acd_skip(uint32_t calls);
uint64_t dhcp_coarse_work_ms(uint64_t next_ms);
void dhcp_coarse_skip(uint32_t calls);
uint64_t dhcp_fine_work_ms(uint64_t next_ms);
void dhcp_fine_skip(uint32_t calls);

/* dns_unit.c, which takes in lwIP's dns.c to reach its table */
uint64_t dns_work_ms(uint64_t next_ms);
void dns_skip(uint32_t calls);

#endif
