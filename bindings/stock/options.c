/* Options of the agent's sockets, by Linux's numbers, as the protocol has them. */
#include <errno.h>
#include <string.h>

#include "lwip/igmp.h"
#include "sockets.h"

/* The system's own headers name lwIP's types over again. */
enum {
    SOL_SOCKET = 1,
    SO_REUSEADDR = 2,
    SO_ERROR = 4,
    SO_BROADCAST = 6,
    SO_KEEPALIVE = 9,
    IPPROTO_IP = 0,
    IP_TOS = 1,
    IP_TTL = 2,
    IP_ADD_MEMBERSHIP = 35,
    IP_DROP_MEMBERSHIP = 36,
    IPPROTO_TCP = 6,
    TCP_NODELAY = 1,
};

static int errno_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"ECONNREFUSED", ECONNREFUSED},
                 {"ECONNRESET", ECONNRESET},
                 {"ETIMEDOUT", ETIMEDOUT},
                 {"ECONNABORTED", ECONNABORTED}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].number;
    return EIO;
}

static void switch_option(struct entry *entry, u8_t option, bool on)
{
    struct ip_pcb *pcb = entry->pcb.any;
    if (on)
        ip_set_option(pcb, option);
    else
        ip_reset_option(pcb, option);
    done();
}

static void change_membership(bool join, const char *word)
{
    unsigned char bytes[8] = {0};
    ip4_addr_t group;
    hex_to_bytes(word[0] == 'x' ? word + 1 : word, bytes, sizeof bytes);
    IP4_ADDR(&group, bytes[0], bytes[1], bytes[2], bytes[3]);
    settle(join ? igmp_joingroup_netif(&wires[0], &group)
                : igmp_leavegroup_netif(&wires[0], &group));
}

void option_request(struct entry *entry, const struct request *request)
{
    int level = request->count > 2 ? atoi(request->words[2]) : -1;
    int name = request->count > 3 ? atoi(request->words[3]) : -1;
    bool set = strcmp(request->words[0], "setsockopt") == 0 && request->count > 4;
    bool on = set && atoi(request->words[4]) != 0;
    if (!set && level == SOL_SOCKET && name == SO_ERROR) {
        answer("%d", entry->error == NULL ? 0 : errno_of(entry->error));
        entry->error = NULL;
    } else if (!set || entry->pcb.any == NULL) {
        refuse("ENOPROTOOPT", "not here");
    } else if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
        switch_option(entry, SOF_KEEPALIVE, on);
    } else if (level == SOL_SOCKET && name == SO_REUSEADDR) {
        switch_option(entry, SOF_REUSEADDR, on);
    } else if (level == SOL_SOCKET && name == SO_BROADCAST) {
        switch_option(entry, SOF_BROADCAST, on);
    } else if (level == IPPROTO_TCP && name == TCP_NODELAY && entry->kind == STREAM) {
        if (on)
            tcp_nagle_disable(entry->pcb.tcp);
        else
            tcp_nagle_enable(entry->pcb.tcp);
        done();
    } else if (level == IPPROTO_IP && name == IP_TTL) {
        ((struct ip_pcb *)entry->pcb.any)->ttl = (u8_t)atoi(request->words[4]);
        done();
    } else if (level == IPPROTO_IP && name == IP_TOS) {
        ((struct ip_pcb *)entry->pcb.any)->tos = (u8_t)atoi(request->words[4]);
        done();
    } else if (level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP)) {
        change_membership(name == IP_ADD_MEMBERSHIP, request->words[4]);
    } else {
        refuse("ENOPROTOOPT", "not here");
    }
}
