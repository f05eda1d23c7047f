// SPDX-License-Identifier: GPL-2.0
/* Address conflict detection for IPv4 (RFC 5227). */
#include "engine/conflict.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>

#include "engine/interface.h"
#include "engine/kernel_address.h"
#include "engine/system_call.h"

#define US_PER_S UINT64_C(1000000)

/* RFC 5227 1.1 */
#define PROBE_WAIT_US US_PER_S
#define PROBE_NUM 3
#define PROBE_MIN_US US_PER_S
#define PROBE_MAX_US (2 * US_PER_S)
#define ANNOUNCE_WAIT_US (2 * US_PER_S)
#define ANNOUNCE_NUM 2
#define ANNOUNCE_INTERVAL_US (2 * US_PER_S)
#define MAX_CONFLICTS 10
#define RATE_LIMIT_INTERVAL_US (60 * US_PER_S)
#define DEFEND_INTERVAL_US (10 * US_PER_S)

#define NEVER UINT64_MAX
#define IPV4_BYTES 4

typedef struct ether_arp arp;

static uint64_t random_between(ps_engine *self, uint64_t least, uint64_t most)
{
    uint64_t number;
    self->host.random(self->host.user, &number, sizeof number);
    return least + number % (most - least + 1);
}

/* --- the socket, which is open while anything is watched -------------------------------------- */

static int open_socket(ps_engine *self)
{
    if (self->conflict_socket != 0)
        return 0;
    long fd = CALL(NR_socket, AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ARP));
    if (fd < 0)
        return (int)fd;
    long result = anyk_watch((int)fd, 0);
    if (result < 0) {
        CALL(NR_close, fd);
        return (int)result;
    }
    self->conflict_socket = (int)fd; /* never 0, which netlink's has */
    return 0;
}

static void close_socket(ps_engine *self)
{
    CALL(NR_close, self->conflict_socket);
    self->conflict_socket = 0;
}

/* Sends an ARP request for the address: a probe without a sender address, an announcement with it.
 * An interface that is down is no error: the next one will go out. */
static int send_request(ps_engine *self, const struct conflict_watch *watch, bool announce)
{
    struct ps_interface one;
    int result = interface_get(self, watch->interface, &one);
    if (result < 0)
        return result;
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ARP),
                             .sll_ifindex = (int)watch->interface,
                             .sll_halen = ETH_ALEN};
    memset(to.sll_addr, 0xff, ETH_ALEN);
    arp request = {.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                              .ar_pro = htons(ETH_P_IP),
                              .ar_hln = ETH_ALEN,
                              .ar_pln = IPV4_BYTES,
                              .ar_op = htons(ARPOP_REQUEST)}};
    memcpy(request.arp_sha, one.mac, ETH_ALEN);
    memcpy(request.arp_tpa, watch->address.bytes, IPV4_BYTES);
    if (announce)
        memcpy(request.arp_spa, watch->address.bytes, IPV4_BYTES);
    long sent = CALL(NR_sendto, self->conflict_socket, &request, sizeof request, 0, &to, sizeof to);
    return sent < 0 && sent != -ENETDOWN && sent != -ENOBUFS ? (int)sent : 0;
}

/* --- what is watched ---------------------------------------------------------------------------
 */

struct conflict_watch *conflict_find(ps_engine *self, uint32_t index,
                                     const struct ps_address *address)
{
    struct conflict_watch *each = self->watches;
    while (each != NULL && (each->interface != index || address->family != PS_INET ||
                            memcmp(each->address.bytes, address->bytes, IPV4_BYTES) != 0))
        each = each->next;
    return each;
}

void conflict_forget(ps_engine *self, struct conflict_watch *watch)
{
    struct conflict_watch **link = &self->watches;
    while (*link != watch)
        link = &(*link)->next;
    *link = watch->next;
    self->host.memory_free(self->host.user, watch);
    if (self->watches == NULL)
        close_socket(self);
}

void conflict_forget_interface(ps_engine *self, uint32_t index)
{
    for (struct conflict_watch *each = self->watches, *next; each != NULL; each = next) {
        next = each->next;
        if (each->interface == index)
            conflict_forget(self, each);
    }
}

static void begin(ps_engine *self, struct conflict_watch *watch)
{
    watch->probes = watch->announced = 0;
    watch->due_us = self->now_us + random_between(self, 0, PROBE_WAIT_US);
    if (self->conflicts >= MAX_CONFLICTS)
        watch->due_us += RATE_LIMIT_INTERVAL_US;
}

void conflict_check_again(ps_engine *self, uint32_t index)
{
    for (struct conflict_watch *each = self->watches; each != NULL; each = each->next) {
        if (each->interface != index)
            continue;
        if (each->state == PS_ADDRESS_DUPLICATE)
            each->state = PS_ADDRESS_TENTATIVE;
        begin(self, each);
    }
}

int conflict_check(ps_engine *self, uint32_t index, const struct ps_address *address)
{
    void *memory;
    if (conflict_find(self, index, address) != NULL)
        return -EEXIST;
    int result = open_socket(self);
    if (result == 0)
        result =
            self->host.memory_allocate(self->host.user, sizeof(struct conflict_watch), &memory);
    if (result < 0) {
        if (self->watches == NULL && self->conflict_socket != 0)
            close_socket(self);
        return result;
    }
    struct conflict_watch *watch = memory, **end = &self->watches;
    *watch = (struct conflict_watch){
        .interface = index, .address = *address, .state = PS_ADDRESS_TENTATIVE};
    begin(self, watch);
    while (*end != NULL)
        end = &(*end)->next;
    *end = watch;
    return 0;
}

int conflict_at(const ps_engine *self, size_t position, struct ps_interface_address *out)
{
    for (const struct conflict_watch *each = self->watches; each != NULL; each = each->next) {
        if (each->state == PS_ADDRESS_PREFERRED || position-- > 0)
            continue;
        *out = (struct ps_interface_address){.interface = each->interface,
                                             .address = each->address,
                                             .state = each->state,
                                             .origin = PS_ORIGIN_STATIC,
                                             .valid_s = UINT32_MAX,
                                             .preferred_s = UINT32_MAX};
        return 1;
    }
    return 0;
}

/* --- what happens to it ------------------------------------------------------------------------
 */

static void tell(ps_engine *self, const struct conflict_watch *watch)
{
    self->host.event(self->host.user, PS_EVENT_INTERFACE, watch->interface, 0);
}

static void log_about(ps_engine *self, const struct conflict_watch *watch, enum ps_log_level level,
                      const char *what)
{
    char text[160], address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, watch->address.bytes, address, sizeof address);
    snprintf(text, sizeof text, "interface %u: %s %s", watch->interface, address, what);
    self->host.log(self->host.user, level, text);
}

static void give_up(ps_engine *self, struct conflict_watch *watch)
{
    if (watch->state == PS_ADDRESS_PREFERRED) {
        int result = kernel_address_remove(self, watch->interface, &watch->address);
        if (result < 0 && result != -EADDRNOTAVAIL)
            log_about(self, watch, PS_LOG_ERROR, "is another host's too, but can't be removed");
    }
    watch->state = PS_ADDRESS_DUPLICATE;
    watch->due_us = NEVER;
    if (self->conflicts < MAX_CONFLICTS)
        self->conflicts++;
    log_about(self, watch, PS_LOG_WARNING, "is another host's too");
    tell(self, watch);
}

static void defend(ps_engine *self, struct conflict_watch *watch)
{
    /* RFC 5227 2.4 (b): rate-limited, or two hosts that both defend it would never stop. */
    if (watch->defence_us != 0 && self->now_us - watch->defence_us < DEFEND_INTERVAL_US) {
        give_up(self, watch);
        return;
    }
    watch->defence_us = self->now_us;
    log_about(self, watch, PS_LOG_WARNING, "is claimed by another host");
    send_request(self, watch, true);
}

static void put_into_use(ps_engine *self, struct conflict_watch *watch)
{
    int result = kernel_address_add(self, watch->interface, &watch->address, 0);
    if (result < 0 && result != -EEXIST) {
        log_about(self, watch, PS_LOG_ERROR, "is free, but the kernel refuses it");
        watch->due_us = NEVER;
        return;
    }
    watch->state = PS_ADDRESS_PREFERRED;
    tell(self, watch);
}

/* 0, or a negative errno where the interface is gone. */
static int step(ps_engine *self, struct conflict_watch *watch)
{
    if (watch->probes < PROBE_NUM) {
        watch->probes++;
        watch->due_us += watch->probes < PROBE_NUM
                             ? random_between(self, PROBE_MIN_US, PROBE_MAX_US)
                             : ANNOUNCE_WAIT_US;
        return send_request(self, watch, false);
    }
    if (watch->state == PS_ADDRESS_TENTATIVE)
        put_into_use(self, watch);
    if (watch->state != PS_ADDRESS_PREFERRED)
        return 0;
    self->conflicts = 0;
    watch->announced++;
    watch->due_us = watch->announced < ANNOUNCE_NUM ? watch->due_us + ANNOUNCE_INTERVAL_US : NEVER;
    return send_request(self, watch, true);
}

void conflict_run(ps_engine *self)
{
    for (struct conflict_watch *each = self->watches, *next; each != NULL; each = next) {
        next = each->next;
        if (each->due_us <= self->now_us && step(self, each) < 0)
            conflict_forget(self, each);
    }
}

uint64_t conflict_deadline(const ps_engine *self)
{
    uint64_t first = NEVER;
    for (const struct conflict_watch *each = self->watches; each != NULL; each = each->next)
        first = each->due_us < first ? each->due_us : first;
    return first;
}

/* --- what other hosts say ----------------------------------------------------------------------
 */

static bool is_nobody(const uint8_t address[IPV4_BYTES])
{
    static const uint8_t nobody[IPV4_BYTES];
    return memcmp(address, nobody, IPV4_BYTES) == 0;
}

/* Whether probing goes on: whether the address is in use on this link is still unknown. */
static bool is_checked(const struct conflict_watch *watch)
{
    return watch->state == PS_ADDRESS_TENTATIVE || watch->announced == 0;
}

/* RFC 5227 2.1.1: another host uses it, or, before we do, another host probes for it. */
static bool is_conflict(ps_engine *self, const struct conflict_watch *watch, const arp *heard)
{
    const uint8_t *wanted = watch->address.bytes;
    struct ps_interface one;
    bool probed = watch->state == PS_ADDRESS_TENTATIVE &&
                  heard->ea_hdr.ar_op == htons(ARPOP_REQUEST) && is_nobody(heard->arp_spa) &&
                  memcmp(heard->arp_tpa, wanted, IPV4_BYTES) == 0;
    if (!probed && memcmp(heard->arp_spa, wanted, IPV4_BYTES) != 0)
        return false;
    return interface_get(self, watch->interface, &one) == 0 &&
           memcmp(heard->arp_sha, one.mac, ETH_ALEN) != 0;
}

static bool is_whole(const arp *heard, long size)
{
    return size >= (long)sizeof *heard && heard->ea_hdr.ar_hrd == htons(ARPHRD_ETHER) &&
           heard->ea_hdr.ar_pro == htons(ETH_P_IP) && heard->ea_hdr.ar_hln == ETH_ALEN &&
           heard->ea_hdr.ar_pln == IPV4_BYTES;
}

void conflict_hear(ps_engine *self)
{
    self->conflict_news = false;
    for (;;) {
        arp heard;
        struct sockaddr_ll from = {0};
        int name = sizeof from;
        long size = CALL(NR_recvfrom, self->conflict_socket, &heard, sizeof heard, MSG_DONTWAIT,
                         &from, &name);
        if (size < 0)
            return;
        if (!is_whole(&heard, size))
            continue;
        for (struct conflict_watch *each = self->watches; each != NULL; each = each->next) {
            if (each->interface != (uint32_t)from.sll_ifindex ||
                each->state == PS_ADDRESS_DUPLICATE || !is_conflict(self, each, &heard))
                continue;
            if (is_checked(each))
                give_up(self, each);
            else
                defend(self, each);
        }
    }
}
