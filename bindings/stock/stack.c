/* Wires, time and tables of stock lwIP. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lwip/autoip.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/inet_chksum.h"
#include "lwip/init.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/raw.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"
#include "stock.h"

struct netif wires[WIRES_MAXIMUM];
int wire_count;

static int wire_descriptors[WIRES_MAXIMUM];
static uint64_t clock_us;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

u32_t sys_now(void)
{
    return (u32_t)(clock_us / 1000);
}

/* Repeatable, as the clock is: xorshift64. */
uint32_t stock_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static err_t send_frame(struct netif *netif, struct pbuf *packet)
{
    unsigned char frame[2048];
    int descriptor = wire_descriptors[netif - wires];
    u16_t size = pbuf_copy_partial(packet, frame, sizeof frame, 0);
    if (packet->tot_len > sizeof frame)
        return ERR_BUF;
    while (write(descriptor, frame, size) < 0)
        if (errno != EINTR)
            return ERR_IF;
    return ERR_OK;
}

static err_t prepare_wire(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET |
                   NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = send_frame;
    return ERR_OK;
}

void start_stack(int count, const int *descriptors)
{
    lwip_init();
    wire_count = count;
    for (int i = 0; i < count; i++) {
        wire_descriptors[i] = descriptors[i];
        netif_add(&wires[i], NULL, NULL, NULL, NULL, prepare_wire, ethernet_input);
    }
}

void take_frames(void)
{
    unsigned char frame[2048];
    for (int i = 0; i < wire_count; i++) {
        ssize_t size;
        while ((size = read(wire_descriptors[i], frame, sizeof frame)) > 0) {
            struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)size, PBUF_POOL);
            if (packet == NULL)
                continue; /* as a driver does */
            pbuf_take(packet, frame, (u16_t)size);
            if (wires[i].input(packet, &wires[i]) != ERR_OK)
                pbuf_free(packet);
        }
    }
    sys_check_timeouts();
}

unsigned next_timer(void)
{
    return sys_timeouts_sleeptime();
}

void advance_clock(uint64_t microseconds)
{
    uint64_t until = clock_us + microseconds;
    while (clock_us != until) {
        uint64_t step = (uint64_t)next_timer() * 1000;
        if (step == 0)
            step = 1000;
        if (step > until - clock_us)
            step = until - clock_us;
        clock_us += step;
        sys_check_timeouts();
    }
}

/* --- tables -------------------------------------------------------------------------------- */

static struct netif *wire(const char *word)
{
    int number = atoi(word);
    return number >= 0 && number < wire_count ? &wires[number] : NULL;
}

static void interface_request(const struct request *request)
{
    struct netif *netif = request->count > 1 ? wire(request->words[1]) : NULL;
    const char *what = request->count > 2 ? request->words[2] : "";
    if (netif == NULL) {
        refuse("ENODEV", "no such wire");
    } else if (request->count == 2) {
        answer("en%d", netif->num);
    } else if (strcmp(what, "up") == 0) {
        netif_set_up(netif);
        netif_set_link_up(netif);
        done();
    } else if (strcmp(what, "down") == 0) {
        netif_set_down(netif);
        done();
    } else if (strcmp(what, "mtu") == 0 && request->count == 4) {
        netif->mtu = (u16_t)atoi(request->words[3]);
        done();
    } else if (strcmp(what, "mac") == 0 && request->count == 4) {
        unsigned mac[6];
        if (sscanf(request->words[3], "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3],
                   &mac[4], &mac[5]) != 6) {
            refuse("EINVAL", "no MAC");
            return;
        }
        for (int i = 0; i < 6; i++)
            netif->hwaddr[i] = (u8_t)mac[i];
        netif_create_ip6_linklocal_address(netif, 1);
        done();
    } else {
        refuse("ENOSYS", what);
    }
}

static void add_address4(struct netif *netif, const ip4_addr_t *address, int prefix)
{
    ip4_addr_t mask;
    ip4_addr_set_u32(&mask, prefix == 0 ? 0 : PP_HTONL(0xffffffffu << (32 - prefix)));
    netif_set_addr(netif, address, &mask, netif_ip4_gw(netif));
    done();
}

static void add_address6(struct netif *netif, const ip6_addr_t *address, bool detect)
{
    s8_t place = -1;
    err_t error = netif_add_ip6_address(netif, address, &place);
    if (error != ERR_OK) {
        refuse_lwip(error);
        return;
    }
    if (!detect)
        netif_ip6_addr_set_state(netif, place, IP6_ADDR_PREFERRED);
    done();
}

static void address_request(const struct request *request)
{
    struct netif *netif = request->count > 2 ? wire(request->words[2]) : NULL;
    ip_addr_t address;
    if (netif == NULL) {
        refuse("ENODEV", "no such wire");
        return;
    }
    if (strcmp(request->words[1], "list") == 0) {
        char text[600] = "", one[64];
        if (!ip4_addr_isany(netif_ip4_addr(netif))) {
            int prefix = __builtin_popcount(ip4_addr_get_u32(netif_ip4_netmask(netif)));
            snprintf(text, sizeof text, "%s/%d", ip4addr_ntoa(netif_ip4_addr(netif)), prefix);
        }
        for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i))) {
                snprintf(one, sizeof one, " %s/64", ip6addr_ntoa(netif_ip6_addr(netif, i)));
                strncat(text, one, sizeof text - strlen(text) - 1);
            }
        answer("%s", text[0] == ' ' ? text + 1 : text);
        return;
    }
    char *slash = request->count > 3 ? strchr(request->words[3], '/') : NULL;
    int prefix = slash == NULL ? -1 : atoi(slash + 1);
    if (slash != NULL)
        *slash = '\0';
    if (request->count < 4 || !parse_address(request->words[3], &address)) {
        refuse("EINVAL", "no address");
    } else if (strcmp(request->words[1], "add") == 0 && IP_IS_V4(&address)) {
        add_address4(netif, ip_2_ip4(&address), prefix < 0 ? 32 : prefix);
    } else if (strcmp(request->words[1], "add") == 0) {
        bool detect = request->count > 4 && strcmp(request->words[4], "detect") == 0;
        add_address6(netif, ip_2_ip6(&address), detect);
    } else if (strcmp(request->words[1], "delete") == 0 && IP_IS_V4(&address)) {
        netif_set_addr(netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4);
        done();
    } else if (strcmp(request->words[1], "delete") == 0) {
        s8_t place = netif_get_ip6_addr_match(netif, ip_2_ip6(&address));
        if (place < 0) {
            refuse("EADDRNOTAVAIL", "no such address");
            return;
        }
        netif_ip6_addr_set_state(netif, place, IP6_ADDR_INVALID);
        done();
    } else {
        refuse("ENOSYS", request->words[1]);
    }
}

/* Stock lwIP has one IPv4 gateway for each interface, and no table of routes to list or change. */
static void route_request(const struct request *request)
{
    ip_addr_t gateway;
    const char *what = request->count > 1 ? request->words[1] : "";
    bool any = request->count > 3 && (strcmp(request->words[2], "0.0.0.0/0") == 0 ||
                                      strcmp(request->words[2], "::/0") == 0);
    if (strcmp(what, "add") != 0 || !any || !parse_address(request->words[3], &gateway)) {
        refuse("ENOSYS", "only a default route can be added");
        return;
    }
    if (IP_IS_V4(&gateway)) {
        netif_set_gw(&wires[0], ip_2_ip4(&gateway));
        netif_set_default(&wires[0]);
        done();
        return;
    }
    /* A default router is known by its advertisements alone; this is what one leaves behind. */
    for (int i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry == NULL) {
            for (int n = 0; n < LWIP_ND6_NUM_NEIGHBORS; n++)
                if (neighbor_cache[n].state == ND6_NO_ENTRY) {
                    ip6_addr_copy(neighbor_cache[n].next_hop_address, *ip_2_ip6(&gateway));
                    neighbor_cache[n].netif = &wires[0];
                    neighbor_cache[n].state = ND6_INCOMPLETE;
                    neighbor_cache[n].isrouter = 1;
                    default_router_list[i].neighbor_entry = &neighbor_cache[n];
                    default_router_list[i].invalidation_timer = 0xffff;
                    done();
                    return;
                }
        }
    refuse("ENOSPC", "no room for a router");
}

static void list_neighbours(void)
{
    static const char *const states[] = {"none",  "incomplete", "reachable",
                                         "stale", "delay",      "probe"};
    fputs("ok", stdout);
    for (size_t i = 0; i < ARP_TABLE_SIZE; i++) {
        ip4_addr_t *address;
        struct netif *netif;
        struct eth_addr *mac;
        if (etharp_get_entry(i, &address, &netif, &mac))
            printf(" %s,%02x:%02x:%02x:%02x:%02x:%02x,reachable", ip4addr_ntoa(address),
                   mac->addr[0], mac->addr[1], mac->addr[2], mac->addr[3], mac->addr[4],
                   mac->addr[5]);
    }
    for (int i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++)
        if (neighbor_cache[i].state != ND6_NO_ENTRY) {
            const u8_t *mac = neighbor_cache[i].lladdr;
            printf(" %s,", ip6addr_ntoa(&neighbor_cache[i].next_hop_address));
            if (neighbor_cache[i].state == ND6_INCOMPLETE)
                putchar('-');
            else
                printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                       mac[5]);
            printf(",%s", states[neighbor_cache[i].state]);
        }
    putchar('\n');
}

static void service_request(const struct request *request)
{
    struct netif *netif = request->count > 3 ? wire(request->words[1]) : NULL;
    const char *which = request->count > 3 ? request->words[2] : "";
    bool on = request->count > 3 && strcmp(request->words[3], "on") == 0;
    if (netif == NULL) {
        refuse("ENODEV", "no such wire");
    } else if (strcmp(which, "dhcp") == 0) {
        if (on) {
            netif_set_default(netif); /* as every embedder does: else no router is ever used */
            settle(dhcp_start(netif));
        } else {
            dhcp_release_and_stop(netif);
            done();
        }
    } else if (strcmp(which, "autoip") == 0) {
        settle(on ? autoip_start(netif) : autoip_stop(netif));
    } else if (strcmp(which, "slaac") == 0) {
        netif_set_ip6_autoconfig_enabled(netif, on);
        done();
    } else {
        refuse("ENOSYS", which);
    }
}

/* One echo request, by a raw PCB that does not live to see the reply. */
static void ping_request(const struct request *request)
{
    ip_addr_t target;
    size_t size = request->count > 2 ? strtoul(request->words[2], NULL, 10) : 0;
    if (request->count < 2 || !parse_address(request->words[1], &target) || size > 65000) {
        refuse("EINVAL", "an address and a size");
        return;
    }
    bool v6 = IP_IS_V6(&target);
    struct raw_pcb *pcb =
        raw_new_ip_type(IP_GET_TYPE(&target), v6 ? IP6_NEXTH_ICMP6 : IP_PROTO_ICMP);
    struct pbuf *message = pbuf_alloc(PBUF_IP, (u16_t)(size + 8), PBUF_RAM);
    if (pcb == NULL || message == NULL) {
        refuse("ENOMEM", "no memory for an echo request");
    } else {
        const unsigned char header[8] = {v6 ? 128 : 8, 0, 0, 0, 0x50, 0x53, 0, 1};
        memset(message->payload, 0, message->len);
        pbuf_take(message, header, sizeof header);
        if (v6) {
            pcb->chksum_reqd = 1;
            pcb->chksum_offset = 2;
        } else {
            u16_t sum = inet_chksum(message->payload, message->len);
            pbuf_take_at(message, &sum, sizeof sum, 2);
        }
        settle(raw_sendto(pcb, message, &target));
    }
    if (message != NULL)
        pbuf_free(message);
    if (pcb != NULL)
        raw_remove(pcb);
}

bool table_request(const struct request *request)
{
    const char *verb = request->words[0];
    if (strcmp(verb, "interface") == 0)
        interface_request(request);
    else if (strcmp(verb, "address") == 0)
        address_request(request);
    else if (strcmp(verb, "route") == 0)
        route_request(request);
    else if (strcmp(verb, "service") == 0)
        service_request(request);
    else if (strcmp(verb, "ping") == 0)
        ping_request(request);
    else if (strcmp(verb, "neighbour") == 0 && request->count == 2 &&
             strcmp(request->words[1], "list") == 0)
        list_neighbours();
    else
        return false;
    return true;
}
