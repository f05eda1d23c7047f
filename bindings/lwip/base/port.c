/*
 * The instance, its clock, its randomness.
 */
#include "base/port.h"

#include "lwip/sys.h"

struct ps_engine port;

u32_t sys_now(void)
{
    return (u32_t)(port.now_us / 1000);
}

uint32_t port_random(void)
{
    uint32_t value = 0;
    port.hypercalls.random(port.hypercalls.user, &value, sizeof value);
    return value;
}
