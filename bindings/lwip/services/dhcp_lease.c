/*
 * What lwIP's DHCP client knows of an interface's lease.
 */
#include "services/dhcp_lease.h"

#include <string.h>

#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/dhcp.h"
#include "lwip/ip.h"
#include "lwip/prot/dhcp.h"
#include "services/nameservers.h"
#include "services/service_state.h"

#define OPTION_DOMAIN_NAME 15 /* RFC 2132 3.17 */

/* The name in the message that is being read, which may prove to be another's. */
static char read_domain[PS_HOST_SIZE];

void hook_dhcp_option(u8_t option, u8_t length, const struct pbuf *packet, u16_t offset)
{
    if (option != OPTION_DOMAIN_NAME)
        return;
    u16_t copied = pbuf_copy_partial(packet, read_domain, length, offset);
    read_domain[copied] = '\0'; /* at most 255 bytes of 256 */
}

bool hook_dhcp_is_host(u32_t address)
{
    u8_t first = (u8_t)(address >> 24);
    return first != 0 && first != 127 && first < 224;
}

static bool believe(const struct dhcp *dhcp, const struct dhcp_msg *message, u8_t type,
                    u32_t server)
{
    if (type == DHCP_OFFER)
        return hook_dhcp_is_host(lwip_ntohl(message->yiaddr.addr));
    if (type != DHCP_ACK && type != DHCP_NAK)
        return false;
    /* These two states ask one server, the others all of them (RFC 2131 4.3.2). */
    bool asked_one = dhcp->state == DHCP_STATE_REQUESTING || dhcp->state == DHCP_STATE_RENEWING;
    if (asked_one && server != ip_2_ip4(&dhcp->server_ip_addr)->addr)
        return false;
    return type == DHCP_NAK || message->yiaddr.addr == dhcp->offered_ip_addr.addr;
}

bool hook_dhcp_believe(const struct netif *netif, const struct dhcp *dhcp,
                       const struct dhcp_msg *message, u8_t type, u32_t server)
{
    struct service_state *state = service_state_of(netif);
    bool believed = believe(dhcp, message, type, server);
    bool answers = dhcp->state == DHCP_STATE_REQUESTING || dhcp->state == DHCP_STATE_REBOOTING ||
                   dhcp->state == DHCP_STATE_RENEWING || dhcp->state == DHCP_STATE_REBINDING;
    if (believed && answers && type == DHCP_ACK && state != NULL && read_domain[0] != '\0')
        memcpy(state->domain, read_domain, sizeof read_domain);
    read_domain[0] = '\0';
    return believed;
}

/* RFC 2131 4.1: 4, 8, 16, 32 and then ever 64 seconds, give or take one. lwIP counts half seconds
 * and rounds up, the first of which may be over at once. */
u16_t hook_dhcp_backoff_ms(u8_t tries)
{
    enum { FIRST_S = 4, DOUBLED = 4 };
    u8_t times = tries > 0 ? (u8_t)(tries - 1) : 0;
    u32_t seconds = (u32_t)FIRST_S << (times < DOUBLED ? times : DOUBLED);
    return (u16_t)(seconds * 1000 - 500 + port_random() % 4 * 500);
}

/* How long the client has been trying: relays look at it (RFC 1542 3.2). A REQUEST says what the
 * DISCOVER said that it belongs to (RFC 2131 3.1). */
static u16_t seconds_of_trying(struct service_state *state, const struct dhcp *dhcp, u8_t type)
{
    if (type == DHCP_DISCOVER) {
        if (dhcp->tries == 0)
            state->dhcp_began_us = port.now_us;
        state->dhcp_seconds = (port.now_us - state->dhcp_began_us) / 1000000;
        return (u16_t)LWIP_MIN(state->dhcp_seconds, UINT16_MAX);
    }
    if (type != DHCP_REQUEST)
        return 0;
    if (dhcp->state == DHCP_STATE_REQUESTING)
        return (u16_t)LWIP_MIN(state->dhcp_seconds, UINT16_MAX);
    bool renews = dhcp->state == DHCP_STATE_RENEWING || dhcp->state == DHCP_STATE_REBINDING;
    u32_t since = renews && dhcp->lease_used > dhcp->offered_t1_renew
                      ? dhcp->lease_used - dhcp->offered_t1_renew
                      : 0;
    return (u16_t)LWIP_MIN(since, UINT16_MAX);
}

void hook_dhcp_message(const struct netif *netif, const struct dhcp *dhcp, struct dhcp_msg *message,
                       u8_t type, u16_t *options_length)
{
    struct service_state *state = service_state_of(netif);
    u32_t server = ip_2_ip4(&dhcp->server_ip_addr)->addr;
    if (state != NULL)
        message->secs = lwip_htons(seconds_of_trying(state, dhcp, type));
    if (type != DHCP_DECLINE || *options_length + 2 + sizeof server >= DHCP_OPTIONS_LEN)
        return;
    /* All servers hear it: it says whose lease it is about (RFC 2131 4.4.1, table 5). */
    u8_t *option = message->options + *options_length;
    option[0] = DHCP_OPTION_SERVER_ID;
    option[1] = sizeof server;
    memcpy(option + 2, &server, sizeof server);
    *options_length = (u16_t)(*options_length + 2 + sizeof server);
}

enum ps_lease_state lease_state(const struct netif *netif)
{
    const struct dhcp *dhcp = netif_dhcp_data(netif);
    if (dhcp == NULL)
        return PS_LEASE_OFF;
    switch (dhcp->state) {
    case DHCP_STATE_OFF:
        return PS_LEASE_OFF;
    case DHCP_STATE_CHECKING:
        return PS_LEASE_CHECKING;
    case DHCP_STATE_BOUND:
        return PS_LEASE_BOUND;
    case DHCP_STATE_RENEWING:
        return PS_LEASE_RENEWING;
    case DHCP_STATE_REBINDING:
        return PS_LEASE_REBINDING;
    default:
        return PS_LEASE_SEARCHING;
    }
}

bool lease_is_held(const struct netif *netif)
{
    const struct dhcp *dhcp = netif_dhcp_data(netif);
    return dhcp != NULL &&
           (lease_state(netif) >= PS_LEASE_CHECKING || dhcp->state == DHCP_STATE_REBOOTING);
}

static void fill_address(const ip4_addr_t *ip, struct ps_address *out)
{
    ip_addr_t any_family;
    if (ip4_addr_isany(ip))
        return;
    ip_addr_copy_from_ip4(any_family, *ip);
    address_from_lwip(&any_family, 0, PS_INET, out);
}

int engine_lease_get(ps_engine *engine, uint32_t index, struct ps_lease *out)
{
    (void)engine;
    const struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    memset(out, 0, sizeof *out);
    out->state = (uint8_t)lease_state(netif);
    const struct service_state *state = service_state_of(netif);
    if (state != NULL) {
        memcpy(out->hostname, state->hostname, sizeof out->hostname);
        memcpy(out->domain, state->domain, sizeof out->domain);
    }
    const struct dhcp *dhcp = netif_dhcp_data(netif);
    if (dhcp == NULL || out->state < PS_LEASE_CHECKING)
        return 0;
    fill_address(&dhcp->offered_ip_addr, &out->address);
    fill_address(&dhcp->offered_gw_addr, &out->gateway);
    fill_address(ip_2_ip4(&dhcp->server_ip_addr), &out->server);
    if (out->state >= PS_LEASE_BOUND)
        out->address.prefix = (uint8_t)__builtin_popcount(netif_ip4_netmask(netif)->addr);
    for (size_t i = 0; i < sizeof out->dns / sizeof *out->dns; i++) {
        const ip4_addr_t *server = nameservers_of_lease(netif, i);
        if (server != NULL)
            fill_address(server, &out->dns[i]);
    }
    out->obtained_s = dhcp->lease_used; /* ticks of one second */
    out->lease_s = dhcp->offered_t0_lease;
    out->renew_s = dhcp->offered_t1_renew;
    out->rebind_s = dhcp->offered_t2_rebind;
    return 0;
}
