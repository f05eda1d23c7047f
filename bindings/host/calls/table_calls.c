/*
 * Tables and names: in this process, or by the channel to the one that owns the Stack.
 */
#include "channel/channel.h"
#include "stack/local_calls.h"

#define LISTING(name, type, table) \
    int64_t ps_##name(ps_stack *stack, type *out, size_t room) \
    { \
        return stack->remote != NULL ? remote_list(stack, table, 0, out, room, sizeof(type)) \
                                     : local_##name(stack, out, room); \
    }

LISTING(interfaces, struct ps_interface, CHANNEL_INTERFACES)
LISTING(addresses, struct ps_interface_address, CHANNEL_ADDRESSES)
LISTING(neighbours, struct ps_neighbour, CHANNEL_NEIGHBOURS)
LISTING(routes, struct ps_route, CHANNEL_ROUTES)
LISTING(connections, struct ps_connection, CHANNEL_CONNECTIONS)
LISTING(nameservers, struct ps_nameserver, CHANNEL_NAMESERVERS)

int64_t ps_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room)
{
    return stack->remote != NULL
               ? remote_list(stack, CHANNEL_COUNTERS, index, out, room, sizeof *out)
               : local_counters(stack, index, out, room);
}

int64_t ps_tunables(ps_stack *stack, struct ps_tunable *out, size_t room)
{
    return stack->remote != NULL ? remote_tunables(stack, out, room)
                                 : local_tunables(stack, 0, out, room);
}

int ps_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out)
{
    return stack->remote != NULL ? remote_tunable_get(stack, name, out)
                                 : local_tunable_get(stack, name, out);
}

int64_t ps_tunable_text(ps_stack *stack, const char *name, bool initial, char *out, size_t room)
{
    return stack->remote != NULL ? remote_tunable_text(stack, name, initial, out, room)
                                 : local_tunable_text(stack, name, initial, out, room);
}

int ps_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out)
{
    return stack->remote != NULL ? remote_route_lookup(stack, destination, out)
                                 : local_route_lookup(stack, destination, out);
}

int64_t ps_resolve_start(ps_stack *stack, const char *name, int family)
{
    return stack->remote != NULL ? remote_resolve_start(stack, name, family)
                                 : local_resolve_start(stack, name, family);
}

int64_t ps_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                        int64_t timeout_us)
{
    return stack->remote != NULL ? remote_resolve_wait(stack, request, out, room, timeout_us)
                                 : local_resolve_wait(stack, request, out, room, timeout_us);
}

int ps_resolve_cancel(ps_stack *stack, int64_t request)
{
    return stack->remote != NULL ? remote_resolve_cancel(stack, request)
                                 : local_resolve_cancel(stack, request);
}

int ps_interface_at(ps_stack *stack, size_t position, struct ps_interface *out)
{
    return stack->remote != NULL ? remote_interface_at(stack, position, out)
                                 : local_interface_at(stack, position, out);
}
