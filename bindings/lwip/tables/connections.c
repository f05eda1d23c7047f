/*
 * The listing of connections: sockets first, then the TCP connections that have none.
 */
#include "base/entries.h"
#include "tcp/tcp_socket.h"

int engine_connection_at(ps_engine *engine, size_t position, struct ps_connection *out)
{
    (void)engine;
    /* A listing asks for 0, 1, 2 ... under one hold of the lock: go on from the last one. */
    static size_t slot, counted;
    if (position == 0 || position < counted)
        slot = counted = 0;
    struct port_socket *socket;
    while ((socket = socket_next(&slot)) != NULL)
        if (counted++ == position) {
            memset(out, 0, sizeof *out);
            out->handle = socket->handle;
            out->protocol = (uint8_t)socket->protocol;
            out->type = socket->type;
            socket->kind->describe(socket, out);
            return 1;
        }
    return tcp_orphan_at(position - counted, out);
}
