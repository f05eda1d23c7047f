/*
 * The calls of host_api.h for a Stack of this process (socket.c, tables.c).
 */
#ifndef PYSTACK_HOST_LOCAL_CALLS_H
#define PYSTACK_HOST_LOCAL_CALLS_H

#include "stack/stack.h"

int64_t local_socket(ps_stack *stack, int family, int type, int protocol);
int local_close(ps_stack *stack, int64_t handle);
int local_close_unless_lingering(ps_stack *stack, int64_t handle);
/* Whether close() waits, for SO_LINGER. */
int local_lingers(ps_stack *stack, int64_t handle);
int local_bind(ps_stack *stack, int64_t handle, const struct ps_address *address);
int local_listen(ps_stack *stack, int64_t handle, int backlog);
int local_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
                  int64_t timeout_us);
int local_shutdown(ps_stack *stack, int64_t handle, uint32_t how);
int64_t local_accept(ps_stack *stack, int64_t handle, struct ps_address *remote,
                     int64_t timeout_us);
int64_t local_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                   uint32_t flags, const struct ps_address *to,
                   const struct ps_send_control *control, int64_t timeout_us);
int local_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                   uint32_t flags, int64_t timeout_us, size_t *sent);
int64_t local_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                      uint32_t flags, struct ps_message *message, int64_t timeout_us);
int64_t local_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                            size_t count, struct ps_message *message, struct ps_socket_error *error,
                            int64_t timeout_us);
int local_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out);
int local_ready(ps_stack *stack, int64_t handle);
int local_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us);
int local_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value);
int local_option_set(ps_stack *stack, int64_t handle, int option, int64_t value);
int local_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                         size_t size);
int local_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                         size_t room);
int local_membership(ps_stack *stack, int64_t handle, bool join,
                     const struct ps_membership *membership);
int local_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out);
int local_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out);
int64_t local_resolve_start(ps_stack *stack, const char *name, int family);
int64_t local_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                           int64_t timeout_us);
int local_resolve_cancel(ps_stack *stack, int64_t request);
int64_t local_interfaces(ps_stack *stack, struct ps_interface *out, size_t room);
int64_t local_addresses(ps_stack *stack, struct ps_interface_address *out, size_t room);
int64_t local_neighbours(ps_stack *stack, struct ps_neighbour *out, size_t room);
int64_t local_routes(ps_stack *stack, struct ps_route *out, size_t room);
int64_t local_connections(ps_stack *stack, struct ps_connection *out, size_t room);
int64_t local_tunables(ps_stack *stack, size_t first, struct ps_tunable *out, size_t room);
int local_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out);
int64_t local_tunable_text(ps_stack *stack, const char *name, bool initial, char *out, size_t room);
int64_t local_nameservers(ps_stack *stack, struct ps_nameserver *out, size_t room);
int64_t local_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room);
int local_interface_at(ps_stack *stack, size_t position, struct ps_interface *out);
/* One that no process holds any more: at once, or, if a descriptor of it is under way to another,
 * with the last of its descriptors. */
int stack_close_unheld(ps_stack *stack, int64_t handle);

#endif
