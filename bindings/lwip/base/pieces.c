/*
 * See pieces.h.
 */
#include "base/pieces.h"

#include "lwip/def.h"

size_t pieces_size(const struct ps_piece *pieces, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    return size;
}

void pieces_from_pbuf(const struct ps_piece *pieces, size_t count, const struct pbuf *p,
                      size_t offset, size_t size)
{
    while (p != NULL && offset >= p->len) {
        offset -= p->len;
        p = p->next;
    }
    for (size_t i = 0; i < count && size > 0; i++) {
        size_t filled = 0;
        while (filled < pieces[i].size && size > 0) {
            size_t part = LWIP_MIN(pieces[i].size - filled, (size_t)p->len - offset);
            part = LWIP_MIN(part, size);
            memcpy(pieces[i].base + filled, (const uint8_t *)p->payload + offset, part);
            filled += part;
            size -= part;
            offset += part;
            if (offset == p->len) {
                p = p->next;
                offset = 0;
            }
        }
    }
}
