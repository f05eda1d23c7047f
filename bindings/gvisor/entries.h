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

int64_t gvFramesIn(engine *); /* those that wait in the instance */
int64_t gvServiceSet(engine *, uint32_t index, enum ps_service, bool on);

/* The calls that Go answers with the same arguments, and its names for them. */
#define HANDED_ON(CALL) \
    PS_ENGINE_INTERFACES(CALL) \
    PS_ENGINE_TABLES(CALL) \
    PS_ENGINE_SOCKETS(CALL) \
    PS_ENGINE_NAMESERVERS(CALL) \
    CALL(int, address_prefer, (uint32_t index, const struct ps_address *address, bool preferred), \
         (index, address, preferred))

#define gv_interface_add gvInterfaceAdd
#define gv_interface_remove gvInterfaceRemove
#define gv_interface_at gvInterfaceAt
#define gv_interface_set_up gvInterfaceSetUp
#define gv_interface_set_link gvInterfaceSetLink
#define gv_interface_set_mtu gvInterfaceSetMtu
#define gv_interface_set_mac gvInterfaceSetMac
#define gv_address_add gvAddressAdd
#define gv_address_remove gvAddressRemove
#define gv_address_at gvAddressAt
#define gv_address_prefer gvAddressPrefer
#define gv_neighbour_add gvNeighbourAdd
#define gv_neighbour_remove gvNeighbourRemove
#define gv_neighbour_flush gvNeighbourFlush
#define gv_neighbour_at gvNeighbourAt
#define gv_route_add gvRouteAdd
#define gv_route_remove gvRouteRemove
#define gv_route_at gvRouteAt
#define gv_route_lookup gvRouteLookup
#define gv_connection_at gvConnectionAt
#define gv_counter_at gvCounterAt
#define gv_tunable_at gvTunableAt
#define gv_tunable_get gvTunableGet
#define gv_tunable_set gvTunableSet
#define gv_socket_open gvSocketOpen
#define gv_socket_close gvSocketClose
#define gv_socket_bind gvSocketBind
#define gv_socket_listen gvSocketListen
#define gv_socket_accept gvSocketAccept
#define gv_socket_connect gvSocketConnect
#define gv_socket_send gvSocketSend
#define gv_socket_receive gvSocketReceive
#define gv_socket_shutdown gvSocketShutdown
#define gv_socket_name gvSocketName
#define gv_socket_ready gvSocketReady
#define gv_option_get gvOptionGet
#define gv_option_set gvOptionSet
#define gv_membership gvMembership
#define gv_tcp_info gvTcpInfo
#define gv_nameserver_set gvNameserverSet
#define gv_nameserver_at gvNameserverAt

#define DECLARE(type, name, parameters, arguments) \
    int64_t gv_##name(engine *, PS_UNPACK parameters);
HANDED_ON(DECLARE)
#undef DECLARE

#endif
