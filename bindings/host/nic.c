/*
 * What all kinds of NIC share: who is woken, and who still holds one.
 */
#include "nic.h"

#include <errno.h>
#include <string.h>

#include "nic_api.h"

int nic_init(ps_nic *nic, const struct ps_nic_kind *kind, enum ps_layer layer, uint32_t mtu)
{
    if (mtu < 68 || mtu > PS_MTU_MAXIMUM || (layer != PS_LAYER_ETHERNET && layer != PS_LAYER_IP))
        return -EINVAL;
    nic->kind = kind;
    nic->layer = (uint8_t)layer;
    nic->mtu = mtu;
    atomic_store(&nic->references, 1);
    pthread_mutex_init(&nic->wake_lock, NULL);
    return 0;
}

void nic_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    pthread_mutex_lock(&nic->wake_lock);
    nic->wake = wake;
    nic->wake_argument = argument;
    pthread_mutex_unlock(&nic->wake_lock);
}

void nic_wake(ps_nic *nic)
{
    /* Held while the driver is woken, so that a Stack that detaches doesn't go meanwhile. */
    pthread_mutex_lock(&nic->wake_lock);
    if (nic->wake != NULL)
        nic->wake(nic->wake_argument);
    pthread_mutex_unlock(&nic->wake_lock);
}

ps_nic *nic_hold(ps_nic *nic)
{
    atomic_fetch_add(&nic->references, 1);
    return nic;
}

void nic_release(ps_nic *nic)
{
    if (atomic_fetch_sub(&nic->references, 1) > 1)
        return;
    pthread_mutex_destroy(&nic->wake_lock);
    nic->kind->destroy(nic);
}
