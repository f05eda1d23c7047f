/*
 * Bytes of a stream that are there before their turn, by sequence number (tcp_reassembly.c).
 *
 * All numbers asked about lie within 2**30 of each other. NULL is a table with nothing in it.
 */
#ifndef PYSTACK_LWIP_TCP_BLOCKS_H
#define PYSTACK_LWIP_TCP_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct pbuf;
struct tcp_blocks;

/* Copies the bytes from `left` to `right` out of `p`, whose first is `left`; nothing before `base`
 * is in the table. Returns how far memory sufficed. */
uint32_t blocks_put(struct tcp_blocks **table, uint32_t base, const struct pbuf *p, uint32_t left,
                    uint32_t right);
/* The first number from `from` on whose byte is there, or is not; at most `limit`. */
uint32_t blocks_next(const struct tcp_blocks *table, uint32_t from, uint32_t limit, bool present);
/* Where the run begins, not before `floor`, that ends before or goes through `at`; and where the
 * one ends that begins at or goes through it. `at`: there is none. */
uint32_t blocks_run_begin(const struct tcp_blocks *table, uint32_t at, uint32_t floor);
uint32_t blocks_run_end(const struct tcp_blocks *table, uint32_t at);
/* Whether anything was ever put at or behind `at`. */
bool blocks_reach_past(const struct tcp_blocks *table, uint32_t at);
/* Drops what is there from `from` to before `to`, which is the new base. */
void blocks_discard(struct tcp_blocks **table, uint32_t from, uint32_t to);
/* Takes the run that begins at the base, which is the new base with the size added that is
 * returned, as buffers linked by `next` alone. Shorter, if memory runs out. */
uint32_t blocks_take(struct tcp_blocks **table, uint32_t base, struct pbuf **out);
void blocks_free(struct tcp_blocks **table);

#endif
