// SPDX-License-Identifier: GPL-2.0
/* Requests to rtnetlink(7), and what it answers. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/netlink.h"
#include "engine/system_call.h"

/* The most that the kernel puts into one piece of a dump. */
#define PIECE 32768

struct request *begin(struct request *r, int type, int flags, const void *head, size_t size)
{
    memset(r, 0, sizeof *r);
    r->h.nlmsg_type = (uint16_t)type;
    r->h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    r->h.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
    if (head != NULL)
        memcpy(NLMSG_DATA(&r->h), head, size);
    return r;
}

void attribute(struct request *r, int type, const void *data, size_t size)
{
    struct rtattr *a = (void *)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len));
    a->rta_type = (unsigned short)type;
    a->rta_len = (unsigned short)RTA_LENGTH(size);
    memcpy(RTA_DATA(a), data, size);
    r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

static int ask(ps_engine *self, int netlink, struct request *r)
{
    r->h.nlmsg_seq = ++self->sequence;
    long result = CALL(NR_sendto, netlink, r, r->h.nlmsg_len, 0, NULL, 0);
    return result < 0 ? (int)result : 0;
}

/* The kernel answers at once, in `sendto`: -EAGAIN would mean no answer at all. */
static long receive(int netlink, void *out, size_t room)
{
    return CALL(NR_recvfrom, netlink, out, room, MSG_DONTWAIT, NULL, NULL);
}

static int error_in(const struct nlmsghdr *m)
{
    return ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
}

/* The answer to the current request; leftovers of older ones are skipped. */
static int answer(ps_engine *self, int netlink, describe *describe, void *out)
{
    _Alignas(struct nlmsghdr) char buffer[4096];
    for (;;) {
        long size = receive(netlink, buffer, sizeof buffer);
        if (size < 0)
            return (int)size;
        for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
            if (m->nlmsg_seq != self->sequence)
                continue;
            if (m->nlmsg_type == NLMSG_ERROR)
                return error_in(m);
            return describe != NULL && describe(self, m, out) ? 0 : -ENODATA;
        }
    }
}

int carry_out_by(ps_engine *self, int netlink, struct request *r)
{
    r->h.nlmsg_flags |= NLM_F_ACK;
    int result = ask(self, netlink, r);
    return result < 0 ? result : answer(self, netlink, NULL, NULL);
}

int carry_out(ps_engine *self, struct request *r)
{
    return carry_out_by(self, self->netlink, r);
}

int ask_for(ps_engine *self, struct request *r, describe *describe, void *out)
{
    int result = ask(self, self->netlink, r);
    return result < 0 ? result : answer(self, self->netlink, describe, out);
}

static void forget(ps_engine *self, struct listing *listing)
{
    if (listing->memory != NULL)
        self->host.memory_free(self->host.user, listing->memory);
    memset(listing, 0, sizeof *listing);
}

/* Makes room for one more piece. */
static int grow(ps_engine *self, struct listing *listing)
{
    if (listing->room - listing->size >= PIECE)
        return 0;
    void *larger;
    size_t room = listing->room * 2 + PIECE;
    if (self->host.memory_allocate(self->host.user, room, &larger) < 0)
        return -ENOMEM;
    if (listing->memory != NULL) {
        memcpy(larger, listing->memory, listing->size);
        self->host.memory_free(self->host.user, listing->memory);
    }
    listing->memory = larger;
    listing->room = room;
    return 0;
}

/* 1: that was the dump's end. */
static int end_in(const ps_engine *self, char *piece, long size)
{
    for (struct nlmsghdr *m = (void *)piece; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
        if (m->nlmsg_seq != self->sequence)
            continue;
        if (m->nlmsg_type == NLMSG_ERROR)
            return error_in(m);
        if (m->nlmsg_type == NLMSG_DONE)
            return 1;
    }
    return 0;
}

static int dump(ps_engine *self, struct listing *listing, int type, size_t head)
{
    struct request r;
    int result = ask(self, self->netlink, begin(&r, type, NLM_F_DUMP, NULL, head));
    while (result == 0) {
        result = grow(self, listing);
        if (result < 0)
            break;
        char *piece = listing->memory + listing->size;
        long size = receive(self->netlink, piece, PIECE);
        if (size < 0)
            return (int)size;
        listing->size += NLMSG_ALIGN((size_t)size);
        result = end_in(self, piece, size);
    }
    return result < 0 ? result : 0;
}

int entry_at(ps_engine *self, struct listing *listing, int type, size_t head, size_t position,
             describe *describe, void *out)
{
    if (position == 0 || listing->memory == NULL) {
        forget(self, listing);
        int result = dump(self, listing, type, head);
        if (result < 0) {
            forget(self, listing);
            return result;
        }
    }
    if (position < listing->position)
        listing->offset = listing->position = 0;
    while (listing->offset < listing->size) {
        const struct nlmsghdr *m = (const void *)(listing->memory + listing->offset);
        listing->offset += NLMSG_ALIGN(m->nlmsg_len);
        if (m->nlmsg_type != NLMSG_DONE && describe(self, m, out) &&
            listing->position++ == position)
            return 1;
    }
    forget(self, listing);
    return 0;
}

/* 1: that was the dump's end. */
static int tell_each(ps_engine *self, char *piece, long size, each_message *each, void *user)
{
    for (struct nlmsghdr *m = (void *)piece; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
        if (m->nlmsg_seq != self->sequence)
            continue;
        if (m->nlmsg_type == NLMSG_ERROR)
            return error_in(m);
        if (m->nlmsg_type == NLMSG_DONE)
            return 1;
        int result = each(self, m, user);
        if (result < 0)
            return result;
    }
    return 0;
}

int for_each(ps_engine *self, int netlink, struct request *r, each_message *each, void *user)
{
    void *piece;
    int result = self->host.memory_allocate(self->host.user, PIECE, &piece);
    if (result < 0)
        return result;
    result = ask(self, netlink, r);
    while (result == 0) {
        long size = receive(netlink, piece, PIECE);
        result = size < 0 ? (int)size : tell_each(self, piece, size, each, user);
    }
    self->host.memory_free(self->host.user, piece);
    return result < 0 ? result : 0;
}
