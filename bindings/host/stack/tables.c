/*
 * The tables, settings and services of a Stack.
 */
#include <errno.h>
#include <string.h>

#include "stack/driver.h"
#include "stack/local_calls.h"
#include "stack/lock.h"
#include "stack/serving.h"
#include "stack/stack.h"
#include "stack/wait.h"

/* A listing: all entries under one hold of the lock, as many as there is room for. `show` adds what
 * the services in Python know. */
#define LIST(name, type, entry_at, show) \
    static int64_t list_##name(ps_stack *stack, type *out, size_t room) \
    { \
        type beyond; /* past `room` entries are only counted */ \
        size_t count = 0; \
        int result; \
        while ((result = stack->table->entry_at(stack->engine, count, \
                                                count < room ? &out[count] : &beyond)) > 0) \
            count++; \
        for (size_t i = 0; i < count && i < room; i++) \
            show(stack, &out[i]); \
        return result < 0 ? result : (int64_t)count; \
    } \
    int64_t local_##name(ps_stack *stack, type *out, size_t room) \
    { \
        stack_catch_up(stack); \
        ENGINE_CALL(stack, list_##name(stack, out, room)); \
    }

#define NOTHING(stack, entry) (void)(entry)

LIST(interfaces, struct ps_interface, interface_at, serving_show_interface)
LIST(addresses, struct ps_interface_address, address_at, serving_show_address)
LIST(neighbours, struct ps_neighbour, neighbour_at, NOTHING)
LIST(routes, struct ps_route, route_at, serving_show_route)
LIST(connections, struct ps_connection, connection_at, NOTHING)

static bool is_listed(const struct ps_nameserver *out, size_t count,
                      const struct ps_nameserver *one)
{
    for (size_t i = 0; i < count; i++)
        if (out[i].address.family == one->address.family &&
            memcmp(out[i].address.bytes, one->address.bytes, sizeof one->address.bytes) == 0)
            return true;
    return false;
}

/* The engine's, and then those that the services in Python have learnt; one of which a router has
 * told, too, is in the list once. */
static int64_t list_nameservers(ps_stack *stack, struct ps_nameserver *out, size_t room)
{
    struct ps_nameserver one;
    size_t count = 0;
    int result;
    while ((result = stack->table->nameserver_at(stack->engine, count,
                                                 count < room ? &out[count] : &one)) > 0)
        count++;
    for (size_t i = 0; result == 0 && serving_nameserver_at(stack, i, &one) > 0; i++) {
        if (is_listed(out, count < room ? count : room, &one))
            continue;
        if (count < room)
            out[count] = one;
        count++;
    }
    return result < 0 ? result : (int64_t)count;
}

int64_t local_nameservers(ps_stack *stack, struct ps_nameserver *out, size_t room)
{
    stack_catch_up(stack);
    ENGINE_CALL(stack, list_nameservers(stack, out, room));
}

/* From the entry at `first` on; of those before it none is in `out`. */
static int64_t list_tunables(ps_stack *stack, size_t first, struct ps_tunable *out, size_t room)
{
    struct ps_tunable beyond;
    size_t count = 0;
    int result;
    while ((result = stack->table->tunable_at(
                stack->engine, count,
                count >= first && count - first < room ? &out[count - first] : &beyond)) > 0)
        count++;
    return result < 0 ? result : (int64_t)count;
}

int64_t local_tunables(ps_stack *stack, size_t first, struct ps_tunable *out, size_t room)
{
    stack_catch_up(stack);
    ENGINE_CALL(stack, list_tunables(stack, first, out, room));
}

int local_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out)
{
    stack_catch_up(stack);
    ENGINE_CALL(stack, stack->table->tunable_get(stack->engine, name, out));
}

int64_t local_tunable_text(ps_stack *stack, const char *name, bool initial, char *out, size_t room)
{
    if (stack->table->tunable_text == NULL)
        return -EOPNOTSUPP;
    ENGINE_CALL(stack, stack->table->tunable_text(stack->engine, name, initial, out, room));
}

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

int64_t local_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room)
{
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

static int look_up_route(ps_stack *stack, const struct ps_address *destination,
                         struct ps_route *out)
{
    int result = stack->table->route_lookup(stack->engine, destination, out);
    if (result >= 0)
        serving_show_route(stack, out);
    return result;
}

int local_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out)
{
    ENGINE_CALL(stack, look_up_route(stack, destination, out));
}

int ps_tunable_set(ps_stack *stack, const char *name, int64_t value)
{
    ENGINE_CALL(stack, stack->table->tunable_set(stack->engine, name, value));
}

int ps_tunable_set_text(ps_stack *stack, const char *name, const char *text)
{
    if (stack->table->tunable_set_text == NULL)
        return -EOPNOTSUPP;
    ENGINE_CALL(stack, stack->table->tunable_set_text(stack->engine, name, text));
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

int64_t local_resolve_start(ps_stack *stack, const char *name, int family)
{
    ENGINE_CALL(stack, stack->table->resolve_start(stack->engine, name, (enum ps_family)family));
}

int64_t local_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                           int64_t timeout_us)
{
    WAITING_CALL(stack, PS_EVENT_RESOLVE, request, UINT32_MAX, timeout_us,
                 stack->table->resolve_result(stack->engine, request, out, room));
}

int local_resolve_cancel(ps_stack *stack, int64_t request)
{
    ENGINE_CALL(stack, stack->table->resolve_cancel(stack->engine, request));
}
