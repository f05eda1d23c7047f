/*
 * NICs that are descriptors, from their makers.
 */
#ifndef PYSTACK_HOST_NIC_DESCRIPTOR_H
#define PYSTACK_HOST_NIC_DESCRIPTOR_H

#include "nic/here.h"
#include "nic/nic.h"
#include "nic/queues.h"

/* The offloads of a descriptor with virtio's header: what its far end does, and the function that
 * tells it what we do. */
#define VIRTIO_HEADER 10
void descriptor_nic_configure(ps_nic *nic, uint32_t offloads,
                              int (*configure)(int fd, uint32_t offloads));
/* Gives it the socket that tells which addresses are the device's kernel's. */
void descriptor_nic_place(ps_nic *nic, const struct here *here);
/* One queue of several: what its device does is settled. `queues` goes with the NIC. */
void descriptor_nic_share(ps_nic *nic, uint32_t offloads, struct queues *queues);

#endif
