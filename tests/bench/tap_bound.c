/*
 * As little as can stand at a TAP's end of a TCP connection: frames of as many segments as IPv4's
 * length field can say, or as the kernel takes beyond that (BIG TCP), of which all but sequence
 * number and acknowledgement is prepared, no loss, no socket, no timer. What it reaches beside the
 * kernel's own sockets is a bound for any stack outside the kernel. Each of `copies` moves every
 * byte once more, as a stack does from or to its user's memory.
 *
 * The checksums are left to the kernel (virtio's header), so no byte of data is looked at.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    MSS = 1460,
    LONG = 44 * MSS,
    LONGEST = 220 * MSS,
    MEMORY = 1 << 20, /* of the user and of the stack, each */
    SCALE = 14,
    ETHERNET = 14,
    ARP = 42,
    ACK_BYTES = 4 * LONG, /* as seldom as Linux, whose receiver merges */
};

struct headers {
    struct virtio_net_hdr offload;
    uint8_t ethernet[ETHERNET];
    struct iphdr ip;
    struct tcphdr tcp;
    uint8_t options[8];
} __attribute__((packed));

struct end {
    int fd;
    uint8_t ours[6], theirs[6];
    uint32_t address, peer;
    uint16_t port, peer_port;
    uint32_t next, acked, wanted, window;
    unsigned scale;
    struct headers out;
};

static uint8_t frame[1 << 17], user[MEMORY], stack[2][MEMORY];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t add(uint32_t sum, const void *from, size_t words)
{
    const uint8_t *bytes = from;
    for (size_t i = 0; i < words; i++)
        sum += (uint32_t)bytes[2 * i] << 8 | bytes[2 * i + 1];
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)sum);
}

/* The headers before so much data; what changes with each frame is filled in by put(). */
static void prepare(struct end *end, size_t options, size_t data)
{
    struct headers *h = &end->out;
    size_t tcp = sizeof h->tcp + options, total = sizeof h->ip + tcp + data;
    memset(h, 0, sizeof *h);
    h->offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    h->offload.csum_start = ETHERNET + sizeof h->ip;
    h->offload.csum_offset = offsetof(struct tcphdr, check);
    if (data > MSS) {
        h->offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        h->offload.gso_size = MSS;
        h->offload.hdr_len = (uint16_t)(ETHERNET + sizeof h->ip + tcp);
    }
    memcpy(h->ethernet, end->theirs, 6);
    memcpy(h->ethernet + 6, end->ours, 6);
    h->ethernet[12] = 8;
    h->ip = (struct iphdr){.version = 4,
                           .ihl = 5,
                           .tot_len = total <= UINT16_MAX ? htons((uint16_t)total) : 0,
                           .frag_off = htons(0x4000),
                           .ttl = 64,
                           .protocol = IPPROTO_TCP,
                           .saddr = end->address,
                           .daddr = end->peer};
    h->ip.check = (uint16_t)~fold(add(0, &h->ip, sizeof h->ip / 2));
    h->tcp.source = htons(end->port);
    h->tcp.dest = htons(end->peer_port);
    h->tcp.doff = (uint16_t)(tcp / 4) & 15;
    h->tcp.window = htons(UINT16_MAX);
    h->tcp.check = fold(add(IPPROTO_TCP + (uint32_t)(tcp + data), &h->ip.saddr, 4));
    if (options > 0) {
        const uint8_t wished[8] = {2, 4, MSS >> 8, MSS & 255, 1, 3, 3, SCALE};
        memcpy(h->options, wished, sizeof wished);
    }
}

static int put(struct end *end, size_t options, const void *data, size_t size)
{
    const struct iovec pieces[] = {{&end->out, sizeof end->out - sizeof end->out.options + options},
                                   {(void *)(uintptr_t)data, size}};
    end->out.tcp.seq = htonl(end->next);
    end->out.tcp.ack_seq = htonl(end->wanted);
    if (writev(end->fd, pieces, 2) < 0)
        return -errno;
    end->next += (uint32_t)size;
    return 0;
}

static void answer_arp(struct end *end)
{
    uint8_t *arp = frame + sizeof(struct virtio_net_hdr), *body = arp + ETHERNET;
    if (arp[12] != 8 || arp[13] != 6 || body[7] != 1 || memcmp(body + 24, &end->address, 4) != 0)
        return;
    memset(frame, 0, sizeof(struct virtio_net_hdr));
    memcpy(arp, arp + 6, 6);
    memcpy(arp + 6, end->ours, 6);
    memcpy(body + 18, body + 8, 10);
    memcpy(body + 8, end->ours, 6);
    memcpy(body + 14, &end->address, 4);
    body[7] = 2;
    (void)!write(end->fd, frame, sizeof(struct virtio_net_hdr) + ARP);
}

/* The next segment of the connection: its data's size, with *data; -EAGAIN: none is there. */
static long get(struct end *end, const uint8_t **data, struct tcphdr **tcp)
{
    for (;;) {
        ssize_t got = read(end->fd, frame, sizeof frame);
        if (got < 0)
            return -errno;
        uint8_t *ethernet = frame + sizeof(struct virtio_net_hdr);
        struct iphdr *ip = (struct iphdr *)(void *)(ethernet + ETHERNET);
        *tcp = (struct tcphdr *)(ip + 1);
        if (ethernet[12] != 8 || ethernet[13] != 0 || ip->protocol != IPPROTO_TCP) {
            answer_arp(end);
            continue;
        }
        if ((*tcp)->dest != htons(end->port) ||
            (end->peer_port != 0 && (*tcp)->source != htons(end->peer_port)))
            continue; /* what the connection before left */
        memcpy(end->theirs, ethernet + 6, 6);
        end->peer = ip->saddr;
        end->acked = ntohl((*tcp)->ack_seq);
        end->window = (uint32_t)ntohs((*tcp)->window) << ((*tcp)->syn ? 0 : end->scale);
        size_t headers = sizeof *ip + (*tcp)->doff * 4u;
        *data = (uint8_t *)ip + headers;
        return ntohs(ip->tot_len) - (long)headers;
    }
}

static long await(struct end *end, const uint8_t **data, struct tcphdr **tcp)
{
    long got;
    while ((got = get(end, data, tcp)) == -EAGAIN) {
        struct pollfd state = {end->fd, POLLIN, 0};
        if (poll(&state, 1, 5000) <= 0)
            return -ETIMEDOUT;
    }
    return got;
}

static void learn_scale(struct end *end, struct tcphdr *tcp)
{
    const uint8_t *options = (uint8_t *)(tcp + 1), *over = (uint8_t *)tcp + tcp->doff * 4;
    while (options + 2 < over && *options != 0) {
        if (*options == 3)
            end->scale = options[2];
        options += *options == 1 ? 1 : options[1] > 0 ? options[1] : over - options;
    }
}

/* Opens the connection, from here (`calls`) or from there. */
static int greet(struct end *end, int calls)
{
    const uint8_t *data;
    struct tcphdr *tcp;
    long got = 0;
    if (calls) {
        prepare(end, 8, 0);
        end->out.tcp.syn = 1;
        got = put(end, 8, NULL, 0);
    }
    while (got >= 0 && (got = await(end, &data, &tcp)) >= 0)
        if (tcp->syn)
            break;
    if (got < 0)
        return (int)got;
    learn_scale(end, tcp);
    end->peer_port = ntohs(tcp->source);
    end->wanted = ntohl(tcp->seq) + 1;
    if (!calls) {
        prepare(end, 8, 0);
        end->out.tcp.syn = end->out.tcp.ack = 1;
        got = put(end, 8, NULL, 0);
    }
    end->next++;
    if (got < 0 || !calls)
        return (int)got;
    prepare(end, 0, 0);
    end->out.tcp.ack = 1;
    return put(end, 0, NULL, 0);
}

/* What a copy in a stack does: the same bytes, in other memory. */
static const void *copied(const void *from, size_t size, int copies, size_t *place)
{
    if (*place + size > sizeof user)
        *place = 0;
    for (int i = 0; i < copies; i++) {
        uint8_t *into = (i + 1 == copies ? user : stack[i]) + *place;
        memcpy(into, from, size);
        from = into;
    }
    *place += size;
    return from;
}

static long long send_all(struct end *end, int copies, size_t most, double until)
{
    static uint8_t block[LONGEST];
    const uint8_t *data;
    struct tcphdr *tcp;
    size_t place = 0, prepared = 0;
    long long total = 0;
    long got = 0;
    end->acked = end->next;
    while (now() < until && got >= 0) {
        while ((got = get(end, &data, &tcp)) >= 0)
            ;
        while (end->next + LONG - end->acked > end->window && got != -ETIMEDOUT)
            got = await(end, &data, &tcp);
        if (got < 0 && got != -EAGAIN)
            return got;
        size_t size = end->next + most - end->acked > end->window ? LONG : most;
        if (size != prepared) {
            prepare(end, 0, size);
            end->out.tcp.ack = 1;
            prepared = size;
        }
        got = put(end, 0, copied(block, size, copies, &place), size);
        total += (long long)size;
    }
    if (got < 0)
        return got;
    prepare(end, 0, 0);
    end->out.tcp.ack = end->out.tcp.fin = 1;
    put(end, 0, NULL, 0);
    end->next++;
    do {
        got = await(end, &data, &tcp);
    } while (got >= 0 && !tcp->fin);
    if (got < 0)
        return got;
    end->wanted++;
    end->out.tcp.fin = 0;
    put(end, 0, NULL, 0);
    return total;
}

static long long receive_all(struct end *end, int copies)
{
    const uint8_t *data;
    struct tcphdr *tcp;
    size_t place = 0, unacknowledged = 0;
    long long total = 0;
    prepare(end, 0, 0);
    end->out.tcp.ack = 1;
    for (;;) {
        long got = get(end, &data, &tcp);
        if (got == -EAGAIN && unacknowledged > 0) {
            unacknowledged = 0;
            put(end, 0, NULL, 0);
        }
        if (got == -EAGAIN)
            got = await(end, &data, &tcp);
        if (got < 0)
            return got;
        /* Nothing is lost on a TAP that is read, but a slow answer may be taken for a loss. */
        uint32_t again = end->wanted - ntohl(tcp->seq);
        if (again > (uint32_t)got + tcp->fin || (tcp->fin && again == (uint32_t)got + 1))
            continue;
        if (again < (uint32_t)got) {
            copied(data + again, (size_t)got - again, copies, &place);
            total += got - again;
            unacknowledged += (size_t)got - again;
            end->wanted += (uint32_t)got - again;
        }
        end->wanted += tcp->fin;
        if (unacknowledged >= ACK_BYTES || tcp->fin) {
            unacknowledged = 0;
            if (tcp->fin)
                end->out.tcp.fin = 1;
            put(end, 0, NULL, 0);
        }
        if (tcp->fin)
            return total;
    }
}

/* The bytes that were moved, or a negative errno. `mac` is the peer's, `port` its to connect to;
 * with port 0 it connects to ours and sends. `longest`: in frames of more than 64 KiB. */
long long tap_bound(int fd, const uint8_t mac[6], uint32_t address, uint32_t peer,
                    uint16_t own_port, uint16_t port, int copies, int longest, double seconds)
{
    struct end end = {.fd = fd,
                      .ours = {2, 0, 0, 0, 0, 2},
                      .address = address,
                      .peer = peer,
                      .port = own_port,
                      .peer_port = port,
                      .next = 1};
    memcpy(end.theirs, mac, sizeof end.theirs);
    int result = greet(&end, port != 0);
    if (result < 0)
        return result;
    return port != 0 ? send_all(&end, copies, longest ? LONGEST : LONG, now() + seconds)
                     : receive_all(&end, copies);
}
