/*
 * The first part of a Stack's orderly end: its sockets are closed as the kernel closes those of a
 * process that ends, and what they had accepted is delivered for as long as somebody takes it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "stack/descriptors.h"
#include "stack/driver.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/hypercalls.h"
#include "stack/lock.h"
#include "stack/move.h"
#include "stack/stack.h"
#include "stack/waiters.h"
#include "world/world.h"

/* A peer that has everything is waited for as long as this, so that its end is acknowledged. */
#define CLOSING_US 50000
/* A neighbour's answer, and frames that a wire holds back: what goes without being acknowledged. */
#define WAITING_US 500000
/* So long nothing may be taken from a wire whose far end is no Stack's. */
#define UNHEARD_US 1000000
/* So long a clock of Python's may stand still before it counts as one that is turned by hand. */
#define STANDSTILL_US 20000
/* So long one alone may be waited for, and one of several. */
#define ALONE_US 200000
#define TOGETHER_US 5000
/* A wait of this length is reported, again and again. */
#define TELL_US 1000000
#define TELL_AGAIN_US 5000000
/* Between two looks at what is left. Where there is much, a look may take this part of the time. */
#define LOOK_US 500
#define LOOK_SHARE 4
/* Of a World's time, between two looks. */
#define WORLD_MOMENT_US 1000

/* --- the sockets -------------------------------------------------------------------------- */

struct handles {
    int64_t *all;
    size_t count;
};

/* All that are open, listeners first: whom they have not accepted they reset. */
static int list_sockets(ps_stack *stack, struct handles *handles)
{
    struct ps_connection row;
    size_t open = 0, listening = 0;
    while (stack->table->connection_at(stack->engine, open, &row) > 0 && row.handle >= 0)
        open++;
    handles->all = malloc((open + 1) * sizeof *handles->all);
    if (handles->all == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < open && stack->table->connection_at(stack->engine, i, &row) > 0; i++) {
        int64_t *place = &handles->all[i];
        if (row.protocol == IPPROTO_TCP && row.state == PS_TCP_LISTEN) {
            *place = handles->all[listening];
            place = &handles->all[listening++];
        }
        *place = row.handle;
        handles->count++;
    }
    return 0;
}

static int close_sockets(ps_stack *stack)
{
    struct handles handles = {0};
    int result = list_sockets(stack, &handles);
    for (size_t i = 0; i < handles.count; i++)
        stack->table->socket_close(stack->engine, handles.all[i]); /* perhaps with its listener */
    free(handles.all);
    return result;
}

/* --- what is left ------------------------------------------------------------------------- */

static bool is_deliverable(ps_stack *stack, const struct ps_address *to)
{
    struct ps_route route;
    if (stack->table->route_lookup(stack->engine, to, &route) < 0)
        return false;
    ps_nic *nic = route.interface < MOST_INTERFACES ? stack->nics[route.interface] : NULL;
    if (nic == NULL)
        return true; /* the loopback interface */
    return !stack->nic_gone[route.interface] && stack->finish.hearing[route.interface].is_heard;
}

/* The moment by which progress is judged, and looks are paced. */
static uint64_t moment(const ps_stack *stack)
{
    return stack->world != NULL ? world_now_us(stack->world->world) : monotonic_us();
}

/* Checks whether a NIC's far end is there. */
static void listen_to(ps_nic *nic, struct hearing *hearing, uint64_t now_us)
{
    uint64_t taken = 0;
    enum nic_ear ear = nic_ear(nic, &taken);
    if (ear == NIC_HEARD || taken != hearing->taken || hearing->last_us == 0)
        hearing->last_us = now_us;
    hearing->taken = taken;
    hearing->is_heard =
        ear == NIC_HEARD || (ear == NIC_UNHEARD && now_us - hearing->last_us < UNHEARD_US);
}

/* Counts what is left; returns how much of it, in connections, can still be delivered. */
static int count_left(ps_stack *stack, struct ps_undelivered *left)
{
    const struct ps_engine_table *table = stack->table;
    struct ps_connection row;
    struct ps_neighbour neighbour;
    int deliverable = 0;
    *left = (struct ps_undelivered){0};
    for (uint32_t i = 0; i <= stack->nic_last; i++)
        if (stack->nics[i] != NULL)
            listen_to(stack->nics[i], &stack->finish.hearing[i], moment(stack));
    for (size_t i = 0; table->connection_at(stack->engine, i, &row) > 0; i++) {
        bool ended = row.state == PS_TCP_FIN_WAIT_2;
        bool ending = row.state == PS_TCP_ESTABLISHED || row.state == PS_TCP_CLOSE_WAIT ||
                      row.state == PS_TCP_FIN_WAIT_1 || row.state == PS_TCP_CLOSING ||
                      row.state == PS_TCP_LAST_ACK;
        if (row.handle >= 0 || row.protocol != IPPROTO_TCP || !(ended || ending))
            continue;
        bool can = is_deliverable(stack, &row.remote);
        left->peers += ending;
        left->bytes += ending ? row.send_queue : 0;
        left->closing += ended && can;
        deliverable += ending && can;
    }
    for (size_t i = 0; table->neighbour_at(stack->engine, i, &neighbour) > 0; i++)
        left->waiting += neighbour.state == PS_NEIGHBOUR_INCOMPLETE;
    for (uint32_t i = 0; i <= stack->nic_last; i++)
        left->waiting += stack->nics[i] != NULL && nic_deadline(stack->nics[i]) != UINT64_MAX;
    return deliverable;
}

static bool stands_still(const ps_stack *stack, uint64_t idle_us)
{
    return stack->python.clock != NULL && idle_us >= STANDSTILL_US &&
           stack->now_us == stack->finish.clock_us;
}

/* Once all is delivered: 0, or -EAGAIN for as long as it is worth to stay. */
static int settle(struct finish *finish, uint64_t now_us, uint64_t linger_us, bool still)
{
    if (finish->delivered_us == 0)
        finish->delivered_us = now_us;
    uint64_t stay_us = finish->left.waiting > 0   ? WAITING_US
                       : finish->left.closing > 0 ? CLOSING_US
                                                  : 0;
    if (stay_us > linger_us)
        stay_us = linger_us;
    return still || now_us - finish->delivered_us >= stay_us ? 0 : -EAGAIN;
}

/* A window probe takes a byte across that nobody needs to have read: where a window is closed there
 * may be room for less than a segment. */
static bool is_progress(const struct ps_undelivered *before, const struct ps_undelivered *left)
{
    return left->peers < before->peers || left->bytes + left->peers < before->bytes;
}

/* How things stand, as ps_stack_finish says it. */
static int look(ps_stack *stack, uint64_t linger_us)
{
    struct finish *finish = &stack->finish;
    struct ps_undelivered before = finish->left;
    uint64_t began_us = monotonic_us(), now_us = moment(stack);
    int deliverable;
    ENGINE_GUARD(stack, deliverable, count_left(stack, &finish->left));
    finish->look_took_us = monotonic_us() - began_us;
    if (stack->poisoned)
        return -ENOTRECOVERABLE;
    if (stack->raised)
        return (int)stack_outcome(stack, -ECANCELED);
    if (is_progress(&before, &finish->left)) {
        finish->progress_us = now_us;
        finish->clock_us = stack->now_us;
    }
    uint64_t idle_us = now_us - finish->progress_us;
    bool still = stands_still(stack, idle_us);
    if (finish->left.peers == 0)
        return settle(finish, now_us, linger_us, still);
    if (deliverable == 0)
        return -ENETUNREACH;
    return still || idle_us >= linger_us ? -ETIMEDOUT : -EAGAIN;
}

/* --- the way there ------------------------------------------------------------------------ */

/* A moment of a World's time. */
static int move_world(ps_stack *stack)
{
    ps_turn *turn = stack_is_inside_any() ? NULL : turn_here(stack->world->world);
    if (turn == NULL)
        return -EPERM;
    turn_prepare(turn, world_now_us(stack->world->world) + WORLD_MOMENT_US, false);
    stack_unlock(stack);
    int result = turn_wait(turn);
    pthread_mutex_lock(&stack->lock);
    return result == -EAGAIN ? 0 : result == -ECANCELED ? -EINTR : result;
}

/* Drives the Stack for a moment, or leaves that to its driver. */
static int move_on(ps_stack *stack, uint64_t until_us)
{
    int result = 0;
    if (stack->world != NULL)
        return move_world(stack);
    if (stack->driving) {
        stack_unlock(stack);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        pthread_mutex_lock(&stack->lock);
        return 0;
    }
    stack->driving = stack->led = true;
    if (stack_move(stack)) {
        gate_open(stack);
        result = stack_sleep(stack, until_us);
        stack_move(stack);
    }
    stack->driving = false;
    return result;
}

static int begin(ps_stack *stack)
{
    int result;
    stack->state = STACK_FINISHING;
    stack_signal_all(stack);
    ENGINE_GUARD(stack, result, close_sockets(stack));
    descriptors_fail(stack);
    uint64_t now_us = moment(stack);
    stack->finish = (struct finish){.left = {.bytes = UINT64_MAX},
                                    .began_us = now_us,
                                    .progress_us = now_us,
                                    .clock_us = stack->now_us};
    return result;
}

/* Until the next look. In a World it doesn't depend on how fast the machine is: what a look finds
 * decides when the end comes. */
static uint64_t pause_us(const ps_stack *stack)
{
    uint64_t share_us = stack->finish.look_took_us * LOOK_SHARE;
    return stack->world != NULL || share_us < LOOK_US ? LOOK_US : share_us;
}

static int finish_by(ps_stack *stack, uint64_t linger_us, uint64_t deadline_us)
{
    struct finish *finish = &stack->finish;
    for (;;) {
        uint64_t now_us = monotonic_us();
        if (moment(stack) >= finish->look_us || now_us >= deadline_us) {
            int result = look(stack, linger_us);
            if (result != -EAGAIN)
                return result;
            finish->look_us = moment(stack) + pause_us(stack);
            if (now_us >= deadline_us)
                return -EAGAIN;
        }
        uint64_t until_us = now_us + STANDSTILL_US;
        int result = move_on(stack, until_us < deadline_us ? until_us : deadline_us);
        if (stack->state != STACK_FINISHING)
            return 0; /* another caller would not wait */
        if (result == -EINTR || (stack->world != NULL && result < 0))
            return result;
    }
}

static int say(ps_stack *stack, const char *text)
{
    stack_log(stack, PS_LOG_WARNING, text);
    return 0;
}

/* Says what was given up. */
static void tell(ps_stack *stack, int result, uint64_t linger_us)
{
    const struct ps_undelivered *left = &stack->finish.left;
    char text[128];
    if (left->bytes == 0 || (result != -ETIMEDOUT && result != -ENETUNREACH))
        return;
    snprintf(text, sizeof text, "closed with %llu bytes to %u peer%s unacknowledged: %s",
             (unsigned long long)left->bytes, left->peers, left->peers == 1 ? "" : "s",
             result == -ENETUNREACH ? "no peer is left"
             : linger_us == 0       ? "linger is 0"
                                    : "no peer takes them");
    int said; /* inside, where a log of Python's can't use the Stack */
    ENGINE_GUARD(stack, said, say(stack, text));
    (void)said;
}

int ps_stack_finish(ps_stack *stack, int64_t linger_us, int64_t timeout_us,
                    struct ps_undelivered *left)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    *left = (struct ps_undelivered){0};
    if (stack->remote != NULL || stack_is_inherited(stack))
        return 0; /* another process's to end */
    if (stack_is_inside(stack))
        return -EDEADLK;
    pthread_mutex_lock(&stack->lock);
    int result = stack->poisoned && stack->state < STACK_CLOSING ? -ENOTRECOVERABLE : 0;
    if (result == 0 && stack->state < STACK_CLOSING) {
        stack->waiting++; /* close() waits for us */
        if (stack->state == STACK_OPEN)
            result = begin(stack);
        if (result >= 0)
            result = finish_by(stack, (uint64_t)linger_us, deadline_us);
        tell(stack, result, (uint64_t)linger_us);
        *left = stack->finish.left;
        if (--stack->waiting == 0 && stack->state == STACK_CLOSING)
            pthread_cond_broadcast(&stack->idle);
        driver_unpark(stack);
    }
    stack_unlock(stack);
    return result;
}

/* --- several ------------------------------------------------------------------------------ */

static atomic_bool tells;
static _Atomic uint64_t next_tell_us;

void ps_tell_of_ends(bool on)
{
    atomic_store(&tells, on);
}

static void tell_of_wait(const struct ps_undelivered *left, uint64_t began_us)
{
    char text[128];
    uint64_t now_us = monotonic_us();
    if (!atomic_load(&tells) || left->peers == 0 || now_us < began_us + TELL_US ||
        now_us < atomic_load(&next_tell_us))
        return;
    atomic_store(&next_tell_us, now_us + TELL_AGAIN_US);
    snprintf(text, sizeof text,
             "pystack: %llu bytes to %u peer%s are not acknowledged yet (Ctrl-C gives them up)\n",
             (unsigned long long)left->bytes, left->peers, left->peers == 1 ? "" : "s");
    /* If nothing reads it, that can't be helped. */
    ssize_t wrote = write(STDERR_FILENO, text, strlen(text));
    (void)wrote;
}

/* Waits a while for one; whether it is done. */
static bool wait_for(struct ps_ending *ending, int64_t slice_us, struct ps_undelivered *left,
                     uint64_t *began_us, int *error)
{
    struct ps_undelivered one;
    int result = ps_stack_finish(ending->stack, ending->linger_us, slice_us, &one);
    if (result == -EINTR)
        *error = result;
    if (result == -EINTR || result == -EAGAIN) {
        left->bytes += one.bytes;
        left->peers += one.peers;
        if (ending->stack->finish.began_us < *began_us)
            *began_us = ending->stack->finish.began_us;
        return false;
    }
    if (result == -EDEADLK || result == -ECANCELED)
        ending->error = result;
    return true;
}

int ps_stacks_finish(struct ps_ending *endings, size_t count, int64_t timeout_us,
                     struct ps_undelivered *left)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    int64_t slice_us = 0; /* at first all of them begin: one may wait for what another holds */
    for (;;) {
        size_t open = 0;
        uint64_t began_us = UINT64_MAX;
        int error = 0;
        *left = (struct ps_undelivered){0};
        for (size_t i = 0; i < count; i++) {
            endings[i].done =
                endings[i].done || wait_for(&endings[i], slice_us, left, &began_us, &error);
            open += !endings[i].done;
        }
        if (open == 0)
            return 0;
        tell_of_wait(left, began_us);
        if (error == -EINTR)
            return error;
        if (monotonic_us() >= deadline_us)
            return -EAGAIN;
        slice_us = open == 1 ? ALONE_US : TOGETHER_US;
    }
}

void ps_stack_linger(ps_stack *stack, int64_t linger_us)
{
    atomic_store(&stack->linger_us, linger_us);
}
