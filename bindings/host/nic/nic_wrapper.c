/*
 * NICs around another one: what they don't change goes through to that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/nic_wrapper.h"
#include "nic/nic.h"

static ps_nic *inner(ps_nic *nic)
{
    return ((struct nic_wrapper *)nic)->inner;
}

static int wrap(ps_nic *nic, const struct ps_nic_kind *kind, ps_nic *wrapped)
{
    if (atomic_exchange(&wrapped->attached, true))
        return -EBUSY;
    int result = nic_init(nic, kind, (enum ps_layer)wrapped->layer, wrapped->mtu);
    if (result < 0) {
        atomic_store(&wrapped->attached, false);
        return result;
    }
    nic->has_mac = wrapped->has_mac;
    memcpy(nic->mac, wrapped->mac, sizeof nic->mac);
    nic->queues = wrapped->queues;
    nic_hold(wrapped);
    return 0;
}

void *nic_wrapper_create(size_t size, const struct ps_nic_kind *kind, ps_nic *wrapped, int *error)
{
    struct nic_wrapper *self = calloc(1, size);
    int result = self == NULL ? -ENOMEM : wrap(&self->nic, kind, wrapped);
    if (result < 0) {
        free(self);
        *error = -result;
        return NULL;
    }
    self->inner = wrapped;
    return self;
}

void nic_wrapper_free(struct nic_wrapper *self)
{
    atomic_store(&self->inner->attached, false);
    nic_release(self->inner);
    free(self);
}

uint64_t nic_wrapper_deadline(ps_nic *nic)
{
    return nic_deadline(inner(nic));
}

int nic_wrapper_descriptor(ps_nic *nic)
{
    return nic_descriptor(inner(nic));
}

enum nic_ear nic_wrapper_ear(ps_nic *nic, uint64_t *taken)
{
    return nic_ear(inner(nic), taken);
}

bool nic_wrapper_is_carried_here(ps_nic *nic)
{
    return nic_is_carried_here(inner(nic));
}

bool nic_wrapper_is_outside(ps_nic *nic)
{
    return nic_is_outside(inner(nic));
}

void nic_wrapper_forget(ps_nic *nic)
{
    nic_forget(inner(nic));
}

void nic_wrapper_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    nic_set_wake(nic, wake, argument); /* for what is in the wrapper, or around it */
    nic_watch(inner(nic), wake, argument);
}
