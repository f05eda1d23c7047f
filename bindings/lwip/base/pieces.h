/*
 * The pieces of memory that the host sends from and receives into.
 */
#ifndef PYSTACK_LWIP_PIECES_H
#define PYSTACK_LWIP_PIECES_H

#include "engine.h"
#include "lwip/pbuf.h"

size_t pieces_size(const struct ps_piece *pieces, size_t count);
/* Copies `size` bytes of a pbuf chain from `offset` into the pieces. */
void pieces_from_pbuf(const struct ps_piece *pieces, size_t count, const struct pbuf *p,
                      size_t offset, size_t size);

#endif
