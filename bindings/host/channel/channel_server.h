/*
 * The owner's side of the channel: its thread's state, and what is done with clients. All under its
 * lock.
 */
#ifndef PYSTACK_HOST_CHANNEL_SERVER_H
#define PYSTACK_HOST_CHANNEL_SERVER_H

#include <sys/un.h>

#include "channel/channel.h"

struct channel_server {
    ps_stack *stack;
    pthread_mutex_t lock; /* for what follows; taken before the Stack's */
    pthread_t thread;
    int poller, stopper, listener;
    char name[sizeof((struct sockaddr_un *)0)->sun_path]; /* the listener's, without the null */
    struct channel_client *clients;
    struct channel_holds holds;
    uint8_t *data, *answer;
};

/* --- channel_clients.c --------------------------------------------------------------------- */

/* Has the thread look after a descriptor; `what` comes back with its events. */
int channel_watch(struct channel_server *server, int descriptor, void *what);
/* A client without a descriptor so far; NULL: out of memory. */
struct channel_client *channel_add(struct channel_server *server);
/* It has ended: what it holds is let go of. */
void channel_remove(struct channel_server *server, struct channel_client *client);
/* A client at the other end of a new pair; that end, or -errno. */
int channel_add_pair(struct channel_server *server, struct channel_client **out);
/* The same for a client that forks, with all that it holds. */
int channel_fork_client(struct channel_call *call);
/* A ticket for a socket; `owned`: by the owner as well. */
int channel_give(struct channel_server *server, int64_t handle, bool owned, uint8_t *ticket);
/* The socket of a ticket is now `taker`'s; NULL: the owner's. */
int64_t channel_take(struct channel_server *server, struct channel_client *taker,
                     const uint8_t *ticket);

#endif
