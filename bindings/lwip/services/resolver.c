/*
 * Name resolution, over lwIP's DNS client (RFC 1035; ".local" by a one-shot multicast query,
 * RFC 6762 5.1).
 *
 * lwIP gives one address a name and one kind of failure. A hook (vendor/patches) shows each
 * response, so that all its addresses and its response code are taken here. What stays:
 * answers over UDP only, of 512 bytes as a rule; no search domains; a label's case comes back
 * as the server likes. There is no cache.
 *
 * A lookup ends with the count of its addresses, or with
 *   -ENOENT       no such name, or a name without addresses of this family
 *   -ETIMEDOUT    no name server answered
 *   -EREMOTEIO    the server failed or refused (RFC 1035 4.1.1, response codes 1, 2, 4 and up)
 *   -EMSGSIZE     the answer was truncated before its first address, and asks for TCP
 *   -ENETUNREACH  there is no name server
 *   -ENOBUFS      no memory, or 255 lookups are under way
 */
#include "services/resolver.h"

#include <string.h>

#include "base/entries.h"
#include "base/errors.h"
#include "base/hooks.h"
#include "base/memory.h"
#include "base/port.h"
#include "link/address.h"
#include "lwip/dns.h"
#include "lwip/ip.h"
#include "lwip/prot/dns.h"
#include "lwip/udp.h"
#include "services/dns_answer.h"

#define LONGEST_LABEL 63 /* RFC 1035 2.3.4 */
#define LONGEST_NAME 253

struct request {
    struct request *next;
    int64_t id;
    uint8_t waiting; /* lookups of lwIP's that have not ended */
    int count;
    int error; /* of the lookups that brought no address */
    struct ps_address addresses[MOST_ADDRESSES];
};

static struct request *requests;
static int64_t last_id;

/* The response that lwIP is working on. */
static struct dns_answer response;
static bool in_icmp; /* it is working on an error about a question instead */

/* --- responses ------------------------------------------------------------------------ */

enum dns_response hook_dns_response(const struct pbuf *message, const char *name, bool mdns,
                                    bool is_v6, ip_addr_t *first)
{
    if (!dns_answer_read(message, name, mdns, is_v6 ? PS_INET6 : PS_INET, &response))
        return DNS_RESPONSE_NONE;
    if (response.code != 0 && response.code != DNS_FLAG2_ERR_NAME)
        return DNS_RESPONSE_FAILURE;
    if (response.code != 0 || response.count == 0)
        return DNS_RESPONSE_NO_ADDRESS;
    return address_to_lwip(&response.addresses[0], first) < 0 ? DNS_RESPONSE_NONE
                                                              : DNS_RESPONSE_ADDRESS;
}

void resolver_unreachable(uint16_t local_port, const ip_addr_t *server)
{
    in_icmp = true;
    dns_unreachable(local_port, server);
    in_icmp = false;
}

/* --- requests ------------------------------------------------------------------------- */

static struct request **find(int64_t id)
{
    struct request **link = &requests;
    while (*link != NULL && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

static void forget(struct request **link)
{
    struct request *request = *link;
    *link = request->next;
    port_free(request);
}

/* One lookup of the request is over: with an address at least, or with an error. */
static void end_lookup(struct request *request, int error)
{
    /* That there is no such name is certain only when nothing else went wrong. */
    if (error < 0 && (request->error == 0 || request->error == -ENOENT))
        request->error = error;
    if (--request->waiting == 0)
        port.hypercalls.event(port.hypercalls.user, PS_EVENT_RESOLVE, request->id, 0);
}

static void add_address(struct request *request, const struct ps_address *address)
{
    if (request->count < MOST_ADDRESSES)
        request->addresses[request->count++] = *address;
}

static void add_lwip_address(struct request *request, const ip_addr_t *ip)
{
    struct ps_address address;
    address_from_lwip(ip, 0, IP_IS_V6(ip) ? PS_INET6 : PS_INET, &address);
    add_address(request, &address);
}

static int failure(void)
{
    /* lwIP's timer gives up on silence; only a packet brings a response. */
    if (ip_current_input_netif() == NULL || in_icmp)
        return -ETIMEDOUT;
    if (response.code != 0 && response.code != DNS_FLAG2_ERR_NAME)
        return -EREMOTEIO;
    return response.truncated ? -EMSGSIZE : -ENOENT;
}

static void on_found(const char *name, const ip_addr_t *ip, void *argument)
{
    (void)name;
    struct request *request = *find((int64_t)(intptr_t)argument);
    if (request == NULL)
        return; /* cancelled */
    if (ip == NULL) {
        end_lookup(request, failure());
        return;
    }
    /* lwIP took the first address of its family; the response has them all. */
    uint8_t family = IP_IS_V6(ip) ? PS_INET6 : PS_INET;
    for (int i = 0; i < response.count; i++)
        if (response.addresses[i].family == family)
            add_address(request, &response.addresses[i]);
    end_lookup(request, 0);
}

/* lwIP puts labels into a packet as they are; what has a colon would be an address, if anything. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    if (length > 0 && name[length - 1] == '.')
        length--;
    if (length == 0 || length > LONGEST_NAME || strchr(name, ':') != NULL)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < length; i++) {
        if (name[i] != '.') {
            label++;
        } else if (label == 0) {
            return false;
        } else {
            label = 0;
        }
        if (label > LONGEST_LABEL)
            return false;
    }
    return label > 0;
}

/* ipaddr_aton() takes what stands before a character that it doesn't know: "::1q" is no address. */
static bool is_literal(const char *name, ip_addr_t *ip)
{
    char after = name[strspn(name, "0123456789abcdefABCDEF:.")];
    return (after == '\0' || after == '%') && ipaddr_aton(name, ip);
}

static void look_up(struct request *request, const char *name, enum ps_family family)
{
    ip_addr_t ip;
    bool literal = is_literal(name, &ip);
    if (literal ? IP_IS_V6(&ip) != (family == PS_INET6) : !is_name(name)) {
        end_lookup(request, -ENOENT);
        return;
    }
    err_t error = dns_gethostbyname_addrtype(name, &ip, on_found, (void *)(intptr_t)request->id,
                                             family == PS_INET6 ? LWIP_DNS_ADDRTYPE_IPV6
                                                                : LWIP_DNS_ADDRTYPE_IPV4);
    if (error == ERR_INPROGRESS)
        return;
    if (error == ERR_OK) /* a literal, or "localhost" */
        add_lwip_address(request, &ip);
    /* ERR_VAL: no name server; ERR_MEM: no memory, or 255 lookups under way. */
    end_lookup(request, error == ERR_VAL ? -ENETUNREACH : port_errno(error));
}

int64_t engine_resolve_start(ps_engine *engine, const char *name, enum ps_family family)
{
    (void)engine;
    if (family != PS_INET && family != PS_INET6 && family != PS_UNSPECIFIED)
        return -EAFNOSUPPORT;
    struct request *request = port_allocate(sizeof *request);
    if (request == NULL)
        return -ENOMEM;
    request->id = ++last_id;
    request->waiting = family == PS_UNSPECIFIED ? 2 : 1;
    request->next = requests;
    requests = request;
    if (family != PS_INET)
        look_up(request, name, PS_INET6);
    if (family != PS_INET6)
        look_up(request, name, PS_INET);
    return request->id;
}

int engine_resolve_result(ps_engine *engine, int64_t id, struct ps_address *out, size_t room)
{
    (void)engine;
    struct request **link = find(id);
    const struct request *request = *link;
    if (request == NULL)
        return -EBADF;
    if (request->waiting > 0)
        return -EAGAIN;
    int count = request->count;
    int result = count > 0 ? count : request->error;
    for (int i = 0; i < count && (size_t)i < room; i++)
        out[i] = request->addresses[i];
    forget(link);
    return result;
}

int engine_resolve_cancel(ps_engine *engine, int64_t id)
{
    (void)engine;
    struct request **link = find(id);
    if (*link == NULL)
        return -EBADF;
    forget(link); /* lwIP has no way to cancel: on_found won't know the request any more */
    return 0;
}

void resolver_close(void)
{
    while (requests != NULL)
        forget(&requests);
}
