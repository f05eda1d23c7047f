/*
 * Go's functions, as shim.c calls them. Each takes the instance, may say `panicked` there, and
 * returns a count or a negative errno.
 */
#ifndef PYSTACK_GVISOR_ENTRIES_H
#define PYSTACK_GVISOR_ENTRIES_H

#include "shim.h"

typedef struct ps_engine engine;

int64_t gvOpen(engine *);
int64_t gvClose(engine *, bool abrupt);
int64_t gvAbandon(engine *);
int64_t gvRun(engine *);
int64_t gvFail(engine *, const char *text);

int64_t gvInterfaceAdd(engine *, const struct ps_interface *spec);
int64_t gvInterfaceRemove(engine *, uint32_t index);
int64_t gvInterfaceAt(engine *, size_t position, struct ps_interface *out);
int64_t gvInterfaceSetUp(engine *, uint32_t index, bool up);
int64_t gvInterfaceSetLink(engine *, uint32_t index, bool up);
int64_t gvInterfaceSetMtu(engine *, uint32_t index, uint32_t mtu);
int64_t gvInterfaceSetMac(engine *, uint32_t index, const uint8_t *mac);
int64_t gvFramesIn(engine *); /* those that wait in the instance */

int64_t gvAddressAdd(engine *, uint32_t index, const struct ps_address *, bool detect);
int64_t gvAddressRemove(engine *, uint32_t index, const struct ps_address *);
int64_t gvAddressAt(engine *, size_t position, struct ps_interface_address *out);

int64_t gvNeighbourAdd(engine *, const struct ps_neighbour *);
int64_t gvNeighbourRemove(engine *, uint32_t index, const struct ps_address *);
int64_t gvNeighbourFlush(engine *, uint32_t index, enum ps_family family, bool all);
int64_t gvNeighbourAt(engine *, size_t position, struct ps_neighbour *out);

int64_t gvRouteAdd(engine *, const struct ps_route *);
int64_t gvRouteRemove(engine *, const struct ps_route *);
int64_t gvRouteAt(engine *, size_t position, struct ps_route *out);
int64_t gvRouteLookup(engine *, const struct ps_address *destination, struct ps_route *out);

int64_t gvConnectionAt(engine *, size_t position, struct ps_connection *out);
int64_t gvCounterAt(engine *, uint32_t index, size_t position, struct ps_counter *out);
int64_t gvTunableAt(engine *, size_t position, struct ps_tunable *out);
int64_t gvTunableSet(engine *, const char *name, int64_t value);

int64_t gvSocketOpen(engine *, enum ps_family, enum ps_type, int protocol);
int64_t gvSocketClose(engine *, int64_t handle);
int64_t gvSocketBind(engine *, int64_t handle, const struct ps_address *);
int64_t gvSocketListen(engine *, int64_t handle, int backlog);
int64_t gvSocketAccept(engine *, int64_t handle, struct ps_address *remote);
int64_t gvSocketConnect(engine *, int64_t handle, const struct ps_address *);
int64_t gvSocketSend(engine *, int64_t handle, const struct ps_piece *, size_t count,
                     uint32_t flags, const struct ps_address *to, const struct ps_send_control *);
int64_t gvSocketReceive(engine *, int64_t handle, const struct ps_piece *, size_t count,
                        uint32_t flags, struct ps_message *message);
int64_t gvSocketShutdown(engine *, int64_t handle, uint32_t how);
int64_t gvSocketName(engine *, int64_t handle, enum ps_name which, struct ps_address *out);
int64_t gvSocketReady(engine *, int64_t handle, uint32_t *mask);
int64_t gvOptionGet(engine *, int64_t handle, enum ps_option, int64_t *value);
int64_t gvOptionSet(engine *, int64_t handle, enum ps_option, int64_t value);
int64_t gvMembership(engine *, int64_t handle, bool join, const struct ps_membership *);
int64_t gvTcpInfo(engine *, int64_t handle, struct ps_tcp_info *out);

int64_t gvServiceSet(engine *, uint32_t index, enum ps_service, bool on);
int64_t gvNameserverSet(engine *, size_t position, const struct ps_address *);
int64_t gvNameserverAt(engine *, size_t position, struct ps_nameserver *out);

#endif
