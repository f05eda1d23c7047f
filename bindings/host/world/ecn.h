/*
 * Explicit congestion notification in frames (RFC 3168).
 */
#ifndef PYSTACK_HOST_ECN_H
#define PYSTACK_HOST_ECN_H

#include "engine.h"

/* Marks the frame's packet "congestion experienced"; false: its sender doesn't know ECN. */
bool ecn_mark(uint8_t *frame, size_t size, enum ps_layer layer);

#endif
