/*
 * The processes that share a Stack with its owner, and the sockets that are on their way to one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "channel/channel_server.h"
#include "stack/local_calls.h"

/* --- clients ------------------------------------------------------------------------------ */

int channel_watch(struct channel_server *server, int descriptor, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    return epoll_ctl(server->poller, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : -errno;
}

struct channel_client *channel_add(struct channel_server *server)
{
    struct channel_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->descriptor = -1;
    client->next = server->clients;
    server->clients = client;
    return client;
}

void channel_remove(struct channel_server *server, struct channel_client *client)
{
    struct channel_client **link = &server->clients;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    if (client->descriptor >= 0) {
        /* A child that is being forked may have a copy for a moment: closing isn't enough. */
        epoll_ctl(server->poller, EPOLL_CTL_DEL, client->descriptor, NULL);
        close(client->descriptor);
    }
    size_t position = 0;
    const struct handle_entry *entry;
    while ((entry = handle_map_next(&client->held, &position)) != NULL) {
        int64_t handle = entry->handle;
        uint64_t times = entry->value;
        while (times-- > 0)
            if (channel_release(&server->holds, client, handle))
                stack_close_unheld(server->stack, handle);
        position = 0; /* what was removed has moved the others */
    }
    handle_map_clear(&client->held);
    free(client);
}

int channel_add_pair(struct channel_server *server, struct channel_client **out)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    channel_widen(ends[0]);
    channel_widen(ends[1]);
    struct channel_client *client = channel_add(server);
    int result = client == NULL ? -ENOMEM : channel_watch(server, ends[0], client);
    if (client != NULL)
        client->descriptor = ends[0];
    else
        close(ends[0]);
    if (result < 0) {
        if (client != NULL)
            channel_remove(server, client);
        close(ends[1]);
        return result;
    }
    *out = client;
    return ends[1];
}

int channel_fork_client(struct channel_call *call)
{
    struct channel_server *server = call->server;
    struct channel_client *made = NULL;
    int end = channel_add_pair(server, &made);
    size_t position = 0;
    const struct handle_entry *entry;
    while (end >= 0 && (entry = handle_map_next(&call->client->held, &position)) != NULL)
        for (uint64_t i = 0; i < entry->value; i++)
            if (channel_hold(&server->holds, made, entry->handle, false) < 0) {
                channel_remove(server, made);
                close(end);
                return -ENOMEM;
            }
    return end;
}

/* --- tickets ------------------------------------------------------------------------------ */

int channel_give(struct channel_server *server, int64_t handle, bool owned, uint8_t *ticket)
{
    struct channel_client *holder = channel_add(server);
    if (holder == NULL)
        return -ENOMEM;
    ssize_t got = getrandom(holder->ticket, CHANNEL_TICKET_BYTES, 0);
    int result =
        got != CHANNEL_TICKET_BYTES ? -EAGAIN : channel_hold(&server->holds, holder, handle, owned);
    if (result < 0) {
        channel_remove(server, holder);
        return result;
    }
    memcpy(ticket, holder->ticket, CHANNEL_TICKET_BYTES);
    return 0;
}

static struct channel_client *holder_of(struct channel_server *server, const uint8_t *ticket)
{
    struct channel_client *each = server->clients;
    while (each != NULL && (each->descriptor >= 0 || each->held.count == 0 ||
                            memcmp(each->ticket, ticket, CHANNEL_TICKET_BYTES) != 0))
        each = each->next;
    return each;
}

int64_t channel_take(struct channel_server *server, struct channel_client *taker,
                     const uint8_t *ticket)
{
    struct channel_client *holder = holder_of(server, ticket);
    if (holder == NULL)
        return -ENOENT;
    size_t position = 0;
    int64_t handle = handle_map_next(&holder->held, &position)->handle;
    int result = taker == NULL ? channel_hold_owner(&server->holds, handle)
                               : channel_hold(&server->holds, taker, handle, false);
    if (result < 0)
        return result;
    channel_remove(server, holder);
    return handle;
}

#endif
