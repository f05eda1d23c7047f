/*
 * nd6.c for lwIP's own tests: as in bindings/lwip/ip/nd6_unit.c, but without the port's tables.
 */
#include "lwip/opt.h"

#include "lwip/arch.h"

#ifndef LWIP_RAND
#define LWIP_RAND() 0
#endif
#define LWIP_HOOK_ND6_DESTINATION_FREED(slot)
#include "ip/nd6_rules.h"

#include "src/core/ipv6/nd6.c"
