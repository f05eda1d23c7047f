/*
 * lwIP's heap and pools, both out of the host's arena.
 *
 * lwIP's memp.c has pools of fixed sizes; here each element is a separate allocation. Timers are
 * none: see timeouts.c.
 */
#include "base/memory.h"

#include <stdalign.h>

#include "base/port.h"
#include "lwip/memp.h"

/* What memp_std.h needs to know the size of each kind of element. */
#include "lwip/dns.h"
#include "lwip/igmp.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/raw.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"

static const size_t element_size[MEMP_MAX] = {
#define LWIP_MEMPOOL(name, count, size, description) [MEMP_##name] = (size),
#include "lwip/priv/memp_std.h"
};

void *port_lwip_malloc(size_t size)
{
    void *memory = NULL;
    if (port.hypercalls.memory_allocate(port.hypercalls.user, size, &memory) != 0) {
        port.short_of_memory = true;
        return NULL;
    }
    return memory;
}

void *port_lwip_calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *memory = port_lwip_malloc(total);
    if (memory != NULL)
        memset(memory, 0, total);
    return memory;
}

void port_lwip_free(void *memory)
{
    port.hypercalls.memory_free(port.hypercalls.user, memory);
}

void *port_allocate(size_t size)
{
    return port_lwip_calloc(1, size);
}

void port_free(void *memory)
{
    if (memory != NULL)
        port_lwip_free(memory);
}

void memp_init(void)
{
}

void *memp_malloc(memp_t type)
{
    return port_lwip_malloc(element_size[type]);
}

void memp_free(memp_t type, void *element)
{
    (void)type;
    if (element != NULL)
        port_lwip_free(element);
}
