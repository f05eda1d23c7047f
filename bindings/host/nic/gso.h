/*
 * A frame, cut into ordinary ones: generic segmentation offload in software.
 */
#ifndef PYSTACK_HOST_GSO_H
#define PYSTACK_HOST_GSO_H

#include "nic/nic.h"

struct gso {
    struct nic_frame frame;
    size_t network, transport, header; /* where IP, TCP or UDP, and their payload begin */
    size_t payload, done;
    uint32_t count;
    bool is_over;
};
/* Begins with what is in `frame`. One that contradicts itself gives no segment. */
void gso_begin(struct gso *self, enum ps_layer layer);
/* The next one's size; 0: there are no more. */
size_t gso_next(struct gso *self, uint8_t *out, size_t room);

#endif
