/*
 * What a Stack's TCP sockets do: its table of connections is compared with what it was before the
 * engine was entered, so that each engine tells it in the same words.
 */
#include "stack/witness.h"

#include <stdlib.h>
#include <string.h>

#include "world/world.h"

struct seen {
    struct ps_connection row;
    uint32_t again, timeouts; /* segments that were sent again, timeouts of the retransmission */
    bool is_here;             /* in this look, too */
};

struct witness {
    struct seen *rows;
    size_t count, room;
    uint64_t number;
    bool is_silent;
};

static bool is_same_address(const struct ps_address *one, const struct ps_address *other)
{
    return one->family == other->family && one->port == other->port &&
           memcmp(one->bytes, other->bytes, sizeof one->bytes) == 0;
}

static bool is_same(const struct ps_connection *one, const struct ps_connection *other)
{
    return is_same_address(&one->local, &other->local) &&
           is_same_address(&one->remote, &other->remote) &&
           (one->remote.port != 0 || one->handle == other->handle);
}

static void tell(ps_stack *stack, const struct ps_connection *row, enum ps_socket_event event,
                 uint32_t count, uint32_t rto_us)
{
    struct ps_trace_socket told = {row->local, row->remote, event, count, rto_us};
    const struct ps_piece piece = {(uint8_t *)&told, sizeof told};
    ps_world *world = stack->world->world;
    if (stack->witness->is_silent)
        return;
    trace_write(&world->trace,
                &(struct ps_trace){world_now_us(world), stack->world->number,
                                   ++stack->witness->number, PS_TRACE_SOCKET, 0},
                &piece, 1);
}

static bool is_opening(uint8_t state)
{
    return state == PS_TCP_SYN_SENT || state == PS_TCP_SYN_RECEIVED;
}

static bool is_over(uint8_t state)
{
    return state == 0 || state == PS_TCP_CLOSED || state == PS_TCP_TIME_WAIT;
}

/* How it ended that was in this state, and is gone or closed. */
static enum ps_socket_event end_of(uint8_t state)
{
    if (is_opening(state))
        return PS_SOCKET_FAILED;
    return state == PS_TCP_LAST_ACK || state == PS_TCP_CLOSING || state == PS_TCP_LISTEN
               ? PS_SOCKET_CLOSED
               : PS_SOCKET_RESET;
}

static void tell_of_state(ps_stack *stack, const struct ps_connection *row, uint8_t before)
{
    uint8_t state = row->state;
    if (state == before)
        return;
    if (state == PS_TCP_LISTEN) {
        tell(stack, row, PS_SOCKET_LISTENS, 0, 0);
    } else if (is_opening(state)) {
        tell(stack, row, state == PS_TCP_SYN_SENT ? PS_SOCKET_CONNECTS : PS_SOCKET_ASKED, 0, 0);
    } else if (is_over(state)) {
        if (!is_over(before))
            tell(stack, row, state == PS_TCP_TIME_WAIT ? PS_SOCKET_CLOSED : end_of(before), 0, 0);
    } else {
        if (is_opening(before) || is_over(before))
            tell(stack, row, PS_SOCKET_ESTABLISHED, 0, 0);
        if (state == PS_TCP_CLOSE_WAIT)
            tell(stack, row, PS_SOCKET_PEER_CLOSED, 0, 0);
        else if (state == PS_TCP_LAST_ACK || state == PS_TCP_FIN_WAIT_1)
            tell(stack, row, PS_SOCKET_CLOSES, 0, 0);
    }
}

static void tell_of_losses(ps_stack *stack, struct seen *seen)
{
    struct ps_tcp_info info;
    const struct ps_connection *row = &seen->row;
    if (row->handle < 0 || row->state == PS_TCP_LISTEN || is_over(row->state) ||
        stack->table->tcp_info(stack->engine, row->handle, &info) < 0)
        return;
    if (info.timeouts > seen->timeouts)
        tell(stack, row, PS_SOCKET_TIMEOUT, info.timeouts - seen->timeouts, info.rto_us);
    if (info.total_retransmits > seen->again)
        tell(stack, row, PS_SOCKET_RETRANSMITS, info.total_retransmits - seen->again, info.rto_us);
    seen->timeouts = info.timeouts;
    seen->again = info.total_retransmits;
}

/* Most are where they were. NULL: it is new. */
static struct seen *find(struct witness *witness, const struct ps_connection *row, size_t from)
{
    for (size_t i = 0; i < witness->count; i++) {
        struct seen *seen = &witness->rows[(from + i) % witness->count];
        if (!seen->is_here && is_same(&seen->row, row))
            return seen;
    }
    return NULL;
}

static struct seen *add(struct witness *witness)
{
    if (witness->count == witness->room) {
        size_t room = witness->room == 0 ? 16 : 2 * witness->room;
        struct seen *rows = realloc(witness->rows, room * sizeof *rows);
        if (rows == NULL)
            return NULL;
        witness->rows = rows;
        witness->room = room;
    }
    struct seen *made = &witness->rows[witness->count++];
    memset(made, 0, sizeof *made);
    return made;
}

static bool is_listening(const struct witness *witness, uint16_t port)
{
    for (size_t i = 0; i < witness->count; i++)
        if (witness->rows[i].row.state == PS_TCP_LISTEN && witness->rows[i].row.local.port == port)
            return true;
    return false;
}

static void look_at(ps_stack *stack, const struct ps_connection *row, size_t place)
{
    struct seen *seen = find(stack->witness, row, place);
    if (seen == NULL)
        seen = add(stack->witness);
    if (seen == NULL)
        return; /* without memory it is told as soon as there is some */
    struct ps_connection before = seen->row;
    bool is_new = before.local.family == 0 && before.local.port == 0;
    seen->row = *row;
    seen->is_here = true;
    tell_of_state(stack, row, before.state);
    bool is_passive = is_new || before.handle < 0;
    if (is_passive && row->handle >= 0 && row->remote.port != 0 && !is_opening(row->state) &&
        !is_over(row->state) && is_listening(stack->witness, row->local.port))
        tell(stack, row, PS_SOCKET_ACCEPTED, 0, 0);
    tell_of_losses(stack, seen);
}

static void forget_gone(ps_stack *stack)
{
    struct witness *witness = stack->witness;
    size_t kept = 0;
    for (size_t i = 0; i < witness->count; i++) {
        struct seen *seen = &witness->rows[i];
        if (seen->is_here)
            witness->rows[kept++] = *seen;
        else if (!is_over(seen->row.state))
            tell(stack, &seen->row, end_of(seen->row.state), 0, 0);
    }
    witness->count = kept;
}

void witness_look(ps_stack *stack)
{
    struct ps_connection row;
    if (stack->world == NULL || !trace_is_on(&stack->world->world->trace))
        return;
    if (stack->witness == NULL)
        stack->witness = calloc(1, sizeof *stack->witness);
    struct witness *witness = stack->witness;
    if (witness == NULL)
        return;
    for (size_t i = 0; i < witness->count; i++)
        witness->rows[i].is_here = false;
    for (size_t i = 0; stack->table->connection_at(stack->engine, i, &row) > 0; i++)
        if (row.type == PS_STREAM && (row.remote.port != 0 || row.state == PS_TCP_LISTEN))
            look_at(stack, &row, i);
    forget_gone(stack);
}

void witness_reset(ps_stack *stack)
{
    if (stack->witness == NULL)
        return;
    stack->witness->is_silent = true;
    stack->witness->count = 0;
    witness_look(stack);
    stack->witness->is_silent = false;
}

void witness_free(struct witness *witness)
{
    if (witness != NULL)
        free(witness->rows);
    free(witness);
}
