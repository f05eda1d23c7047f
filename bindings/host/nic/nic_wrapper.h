/*
 * A NIC around another one.
 */
#ifndef PYSTACK_HOST_NIC_WRAPPER_H
#define PYSTACK_HOST_NIC_WRAPPER_H

#include "nic/nic.h"

/* The first member of each such kind's own structure. */
struct nic_wrapper {
    ps_nic nic;
    ps_nic *inner;
};

/* A wrapper in `size` bytes, all zero behind it. It holds `inner`: *error is EBUSY when it is held
 * already, and the result NULL. */
void *nic_wrapper_create(size_t size, const struct ps_nic_kind *kind, ps_nic *inner, int *error);
/* The last of `destroy`. */
void nic_wrapper_free(struct nic_wrapper *self);
/* For its kind: the inner one's. */
uint64_t nic_wrapper_deadline(ps_nic *nic);
int nic_wrapper_descriptor(ps_nic *nic);
enum nic_ear nic_wrapper_ear(ps_nic *nic, uint64_t *taken);
bool nic_wrapper_is_carried_here(ps_nic *nic);
bool nic_wrapper_is_outside(ps_nic *nic);
void nic_wrapper_forget(ps_nic *nic);
void nic_wrapper_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument);

#endif
