/*
 * The interfaces: which netif is which, and the address that one is listed with.
 */
#include "link/interface.h"

#include "base/port.h"

static struct netif *loopback;

void interface_init(void)
{
    loopback = netif_list; /* lwIP has just made it, and nothing else */
    /* lwIP leaves its MTU at 0, "no limit", and counts a packet in 16 bits. */
    loopback->mtu = loopback->mtu6 = 65535;
    NETIF_SET_CHECKSUM_CTRL(loopback, NETIF_CHECKSUM_DISABLE_ALL);
}

struct netif *interface_loopback(void)
{
    return loopback;
}

struct port_interface *interface_of(const struct netif *netif)
{
    return netif == loopback ? NULL : (struct port_interface *)(uintptr_t)netif;
}

struct port_interface *interface_owner(struct port_interface *interface)
{
    return interface->owner != NULL ? interface->owner : interface;
}

uint32_t interface_index(const struct netif *netif)
{
    struct port_interface *interface = interface_of(netif);
    return netif_get_index(interface != NULL ? &interface_owner(interface)->netif : netif);
}

struct netif *interface_by_index(uint32_t index)
{
    struct netif *netif = index <= UINT8_MAX ? netif_get_by_index((u8_t)index) : NULL;
    struct port_interface *interface = netif ? interface_of(netif) : NULL;
    return interface != NULL && interface->owner != NULL ? NULL : netif;
}

uint8_t interface_bound_index(uint32_t index)
{
    return index == 0 || (index < UINT8_MAX && netif_get_by_index((u8_t)index) == NULL) ||
                   interface_by_index(index) != NULL
               ? (uint8_t)index
               : UINT8_MAX; /* more than there can be, or an alias's */
}

void interface_changed(const struct netif *netif)
{
    port.hypercalls.event(port.hypercalls.user, PS_EVENT_INTERFACE, interface_index(netif), 0);
}

const ip4_addr_t *interface_address(const struct netif *netif)
{
    const struct port_interface *interface = interface_of(netif);
    return interface == NULL || ip4_addr_isany_val(interface->unused_address)
               ? netif_ip4_addr(netif)
               : &interface->unused_address;
}
