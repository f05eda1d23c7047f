/*
 * Memory: everything comes from the host's arena.
 */
#ifndef PYSTACK_LWIP_MEMORY_H
#define PYSTACK_LWIP_MEMORY_H

#include <stddef.h>

/* Zeroed memory, or NULL. */
void *port_allocate(size_t size);
void port_free(void *memory);

#endif
