/*
 * Interfaces: NICs on a Stack.
 */
#include <errno.h>

#include "stack/attach.h"
#include "nic/queues.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/local_calls.h"
#include "stack/lock.h"
#include "stack/serving.h"
#include "stack/stack.h"
#include "stack/stacks.h"
#include "stack/taps.h"
#include "stack/wake.h"
#include "world/world.h"

static void release_nic(ps_stack *stack, ps_nic *nic)
{
    if (stack->world != NULL)
        world_unwatch(stack->world, nic);
    nic_leave(nic);
    nic_set_offloads(nic, 0);
    if (nic->queues != NULL)
        queues_exit(nic->queues);
    atomic_store(&nic->attached, false);
    nic_release(nic);
}

void detach_all(ps_stack *stack)
{
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        if (stack->nics[index] != NULL)
            release_nic(stack, stacks_take_nic(stack, index));
}

int ps_attach(ps_stack *stack, ps_nic *nic, const struct ps_interface *spec)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    if (atomic_exchange(&nic->attached, true)) {
        stack_unlock(stack);
        return -EBUSY; /* a Stack has it already */
    }
    if (spec->mtu > nic->mtu) {
        atomic_store(&nic->attached, false);
        stack_unlock(stack);
        return -EINVAL;
    }
    if (stack->world != NULL)
        result = world_watch(stack->world, nic);
    if (result == 0 && nic->queues != NULL && (result = queues_enter(nic->queues)) < 0 &&
        stack->world != NULL)
        world_unwatch(stack->world, nic);
    if (result < 0) {
        atomic_store(&nic->attached, false);
        stack_unlock(stack);
        return result;
    }
    nic_hold(nic);
    /* The interface starts without a link: no frame may leave before the NIC is entered. */
    struct ps_interface quiet = *spec;
    quiet.flags &= ~(uint32_t)PS_IF_LINK;
    bool offload = stack->table->frame_in_offload != NULL;
    /* A hypercall that looks at frames sees ordinary ones. */
    quiet.offloads = offload && stack->python.frame_out == NULL ? nic->offloads : 0;
    nic_set_offloads(nic, offload ? nic->offloads : 0);
    ENGINE_GUARD(stack, result, stack->table->interface_add(stack->engine, &quiet));
    if (result >= 0) {
        uint32_t index = (uint32_t)result;
        stacks_put_nic(stack, index, nic);
        gate_forget(stack);
        nic_watch(nic, stack_wake, stack);
        int linked;
        ENGINE_GUARD(stack, linked, stack->table->interface_set_link(stack->engine, index, true));
        if (linked < 0)
            result = linked;
        stack_wake(stack); /* a new descriptor to watch, and frames that wait already */
    } else {
        release_nic(stack, nic);
    }
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}

int ps_detach(ps_stack *stack, uint32_t index)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    ENGINE_GUARD(stack, result, stack->table->interface_remove(stack->engine, index));
    if (result >= 0) {
        release_nic(stack, stacks_take_nic(stack, index));
        taps_put(stack, index, NULL);
        gate_forget(stack);
        stack_wake(stack); /* the driver's list of descriptors is old */
    }
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}

static int interface_at(ps_stack *stack, size_t position, struct ps_interface *out)
{
    int result = stack->table->interface_at(stack->engine, position, out);
    if (result > 0)
        serving_show_interface(stack, out);
    return result;
}

int local_interface_at(ps_stack *stack, size_t position, struct ps_interface *out)
{
    ENGINE_CALL(stack, interface_at(stack, position, out));
}

int ps_interface_set_up(ps_stack *stack, uint32_t index, bool up)
{
    ENGINE_CALL(stack, stack->table->interface_set_up(stack->engine, index, up));
}

static int set_mtu(ps_stack *stack, uint32_t index, uint32_t mtu)
{
    const ps_nic *nic = index < MOST_INTERFACES ? stack->nics[index] : NULL;
    if (nic != NULL && mtu > nic->mtu)
        return -EINVAL;
    return stack->table->interface_set_mtu(stack->engine, index, mtu);
}

int ps_interface_set_mtu(ps_stack *stack, uint32_t index, uint32_t mtu)
{
    ENGINE_CALL(stack, set_mtu(stack, index, mtu));
}

int ps_interface_set_mac(ps_stack *stack, uint32_t index, const uint8_t *mac)
{
    ENGINE_CALL(stack, stack->table->interface_set_mac(stack->engine, index, mac));
}

static int qdisc_set(ps_stack *stack, uint32_t index, const struct ps_qdisc *qdisc)
{
    return stack->table->qdisc_set == NULL ? -ENOSYS
                                           : stack->table->qdisc_set(stack->engine, index, qdisc);
}

int ps_qdisc_set(ps_stack *stack, uint32_t index, const struct ps_qdisc *qdisc)
{
    ENGINE_CALL(stack, qdisc_set(stack, index, qdisc));
}

static int qdisc_get(ps_stack *stack, uint32_t index, struct ps_qdisc *out)
{
    return stack->table->qdisc_get == NULL ? -ENOSYS
                                           : stack->table->qdisc_get(stack->engine, index, out);
}

int ps_qdisc_get(ps_stack *stack, uint32_t index, struct ps_qdisc *out)
{
    ENGINE_CALL(stack, qdisc_get(stack, index, out));
}

int ps_address_add(ps_stack *stack, uint32_t index, const struct ps_address *address, bool detect)
{
    ENGINE_CALL(stack, stack->table->address_add(stack->engine, index, address, detect));
}

int ps_address_remove(ps_stack *stack, uint32_t index, const struct ps_address *address)
{
    ENGINE_CALL(stack, stack->table->address_remove(stack->engine, index, address));
}

int ps_address_prefer(ps_stack *stack, uint32_t index, const struct ps_address *address,
                      bool preferred)
{
    if (stack->table->address_prefer == NULL)
        return -EOPNOTSUPP;
    ENGINE_CALL(stack, stack->table->address_prefer(stack->engine, index, address, preferred));
}
