/* The agent's sockets: what is known of each, and what the files that work on them share. */
#ifndef STOCK_SOCKETS_H
#define STOCK_SOCKETS_H

#include "lwip/raw.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"
#include "stock.h"

#define SOCKETS_MAXIMUM 64
#define DATA_MAXIMUM 65536
#define QUEUE_MAXIMUM 32

enum kind { FREE, STREAM, LISTENER, DATAGRAM, RAW };

struct datagram {
    struct pbuf *packet;
    ip_addr_t from;
    u16_t port;
};

struct entry {
    enum kind kind;
    bool v6, bound, connecting, connected, ended, reused;
    const char *error; /* pending, as errno's name */
    union {
        struct tcp_pcb *tcp;
        struct udp_pcb *udp;
        struct raw_pcb *raw;
        void *any;
    } pcb;
    struct pbuf *stream;        /* received, not read */
    int waiting[QUEUE_MAXIMUM]; /* a listener's: accepted by lwIP, not by the program */
    struct datagram queue[QUEUE_MAXIMUM];
    int count; /* of whichever of the two */
};

extern struct entry entries[SOCKETS_MAXIMUM];

/* A free entry's number, which is the socket's handle; -1: there is none. */
int allocate_entry(enum kind kind, bool v6);
/* lwIP tells these, from now on, what happens to a PCB. */
void attach_stream(struct entry *entry, struct tcp_pcb *pcb);
void attach_listener(struct entry *entry, struct tcp_pcb *pcb);
void attach_datagrams(struct entry *entry, struct udp_pcb *pcb);
void attach_raw(struct entry *entry, struct raw_pcb *pcb);

/* For tcp_connect(). */
err_t stream_connected(void *argument, struct tcp_pcb *pcb, err_t error);

void option_request(struct entry *entry, const struct request *request);

#endif
