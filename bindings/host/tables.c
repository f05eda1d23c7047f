/*
 * The tables, settings and services of a Stack.
 */
#include <errno.h>

#include "channel.h"

/* One that is longer than a message can't be had. */
static int64_t list_remote(ps_stack *stack, enum channel_table table, uint32_t index, void *out,
                           size_t room, size_t size)
{
    int64_t count = remote_list(stack, table, index, out, room * size);
    bool cut = count > 0 && (size_t)count * size > CHANNEL_DATA && (size_t)count <= room;
    return cut ? -EMSGSIZE : count;
}

/* A listing: all entries under one hold of the lock, as many as there is room for. */
#define LIST(function, type, entry_at, table_of) \
    static int64_t list_##function(ps_stack *stack, type *out, size_t room) \
    { \
        type beyond; /* past `room` entries are only counted */ \
        size_t count = 0; \
        while (stack->table->entry_at(stack->engine, count, \
                                      count < room ? &out[count] : &beyond) > 0) \
            count++; \
        return (int64_t)count; \
    } \
    int64_t function(ps_stack *stack, type *out, size_t room) \
    { \
        if (stack->remote != NULL) \
            return list_remote(stack, table_of, 0, out, room, sizeof(type)); \
        stack_catch_up(stack); \
        ENGINE_CALL(stack, list_##function(stack, out, room)); \
    }

LIST(ps_interfaces, struct ps_interface, interface_at, CHANNEL_INTERFACES)
LIST(ps_addresses, struct ps_interface_address, address_at, CHANNEL_ADDRESSES)
LIST(ps_neighbours, struct ps_neighbour, neighbour_at, CHANNEL_NEIGHBOURS)
LIST(ps_routes, struct ps_route, route_at, CHANNEL_ROUTES)
LIST(ps_connections, struct ps_connection, connection_at, CHANNEL_CONNECTIONS)
LIST(ps_tunables, struct ps_tunable, tunable_at, CHANNEL_TUNABLES)
LIST(ps_nameservers, struct ps_nameserver, nameserver_at, CHANNEL_NAMESERVERS)

static int64_t list_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room)
{
    struct ps_counter beyond;
    size_t count = 0;
    int result;
    while ((result = stack->table->counter_at(stack->engine, index, count,
                                              count < room ? &out[count] : &beyond)) > 0)
        count++;
    return result < 0 ? result : (int64_t)count;
}

int64_t ps_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room)
{
    if (stack->remote != NULL)
        return list_remote(stack, CHANNEL_COUNTERS, index, out, room, sizeof *out);
    stack_catch_up(stack);
    ENGINE_CALL(stack, list_counters(stack, index, out, room));
}

int ps_neighbour_add(ps_stack *stack, const struct ps_neighbour *neighbour)
{
    ENGINE_CALL(stack, stack->table->neighbour_add(stack->engine, neighbour));
}

int ps_neighbour_remove(ps_stack *stack, uint32_t index, const struct ps_address *address)
{
    ENGINE_CALL(stack, stack->table->neighbour_remove(stack->engine, index, address));
}

int ps_neighbour_flush(ps_stack *stack, uint32_t index, int family, bool all)
{
    ENGINE_CALL(stack,
                stack->table->neighbour_flush(stack->engine, index, (enum ps_family)family, all));
}

int ps_route_add(ps_stack *stack, const struct ps_route *route)
{
    ENGINE_CALL(stack, stack->table->route_add(stack->engine, route));
}

int ps_route_remove(ps_stack *stack, const struct ps_route *route)
{
    ENGINE_CALL(stack, stack->table->route_remove(stack->engine, route));
}

int ps_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out)
{
    if (stack->remote != NULL)
        return remote_route_lookup(stack, destination, out);
    ENGINE_CALL(stack, stack->table->route_lookup(stack->engine, destination, out));
}

int ps_tunable_set(ps_stack *stack, const char *name, int64_t value)
{
    ENGINE_CALL(stack, stack->table->tunable_set(stack->engine, name, value));
}

int ps_service_set(ps_stack *stack, uint32_t index, int service, bool on, const char *name)
{
    ENGINE_CALL(
        stack, stack->table->service_set(stack->engine, index, (enum ps_service)service, on, name));
}

int ps_lease_get(ps_stack *stack, uint32_t index, struct ps_lease *out)
{
    ENGINE_CALL(stack, stack->table->lease_get(stack->engine, index, out));
}

int ps_nameserver_set(ps_stack *stack, size_t position, const struct ps_address *address)
{
    ENGINE_CALL(stack, stack->table->nameserver_set(stack->engine, position, address));
}

int64_t ps_resolve_start(ps_stack *stack, const char *name, int family)
{
    if (stack->remote != NULL)
        return remote_resolve_start(stack, name, family);
    ENGINE_CALL(stack, stack->table->resolve_start(stack->engine, name, (enum ps_family)family));
}

int64_t ps_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                        int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_resolve_wait(stack, request, out, room, timeout_us);
    WAITING_CALL(stack, PS_EVENT_RESOLVE, request, UINT32_MAX, timeout_us,
                 stack->table->resolve_result(stack->engine, request, out, room));
}

int ps_resolve_cancel(ps_stack *stack, int64_t request)
{
    if (stack->remote != NULL)
        return remote_resolve_cancel(stack, request);
    ENGINE_CALL(stack, stack->table->resolve_cancel(stack->engine, request));
}
