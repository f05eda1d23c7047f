/*
 * Signals whose default action ends the process, after what its Stacks have to deliver.
 *
 * A handler may do next to nothing, and the thread that it interrupts may be anywhere: it tells a
 * thread of ours, which ends the Stacks and then lets the signal do what it would have done. A
 * second one does so at once. Meanwhile another thread keeps the interpreter's lock, so that no
 * Python runs any more; one that will not give it up is not waited for.
 *
 * A thread that sends the signal to its own process would go on meanwhile, which it never does
 * without us: Python's first thread is stopped at its next step then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/nic_api.h"
#include "base/clock.h"
#include "stack/stack.h"
#include "stack/stacks.h"

#define HOLD_US 100000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int ends[2] = {-1, -1};
static volatile pid_t owner; /* who has the thread: not the children that fork() makes */
static int (*hold)(void);
static int (*soon)(int (*call)(void *), void *argument);
static atomic_bool held;

static void by_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(number, &action, NULL);
}

/* In Python's first thread, between two steps. */
static int stop_here(void *argument)
{
    (void)argument;
    if (!stacks_need_python())
        ps_hold();
    return 0;
}

/* Of the system's alone; by now the signal's action is the default (SA_RESETHAND).
 * Py_AddPendingCall takes a lock. A thread that sends the signal to itself hasn't got it; one that
 * another thread's signal interrupts may, and waits here for ever. So the process's end comes
 * first: it waits for no thread of Python's. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    int error = errno;
    uint8_t byte = (uint8_t)number;
    bool is_own = (info->si_code == SI_USER || info->si_code == SI_TKILL) && info->si_pid == owner;
    (void)context;
    if (getpid() != owner || write(ends[1], &byte, 1) != 1)
        raise(number); /* as soon as we return */
    else if (is_own)
        soon(stop_here, NULL);
    errno = error;
}

void ps_die_by(int number)
{
    sigset_t only;
    by_default(number);
    sigemptyset(&only);
    sigaddset(&only, number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    kill(getpid(), number);
}

void ps_hold(void)
{
    atomic_store(&held, true);
    for (;;)
        pause();
}

static void *hold_python(void *argument)
{
    (void)argument;
    hold();
    return NULL;
}

/* Python runs no more, soon at the latest. */
static void stop_python(void)
{
    pthread_t thread;
    uint64_t until_us = monotonic_us() + HOLD_US;
    if (pthread_create(&thread, NULL, hold_python, NULL) != 0)
        return;
    while (!atomic_load(&held) && monotonic_us() < until_us)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* For good: none may be destroyed meanwhile, nor is there anything after it. */
static void end_all(void)
{
    struct ps_undelivered left;
    size_t count = 0;
    ps_stack *all = stacks_hold();
    for (ps_stack *stack = all; stack != NULL; stack = stack->list_next)
        count++;
    struct ps_ending *endings = calloc(count + 1, sizeof *endings);
    if (endings == NULL)
        return;
    count = 0;
    for (ps_stack *stack = all; stack != NULL; stack = stack->list_next)
        endings[count++] =
            (struct ps_ending){.stack = stack, .linger_us = atomic_load(&stack->linger_us)};
    while (ps_stacks_finish(endings, count, -1, &left) < 0) {}
    for (size_t i = 0; i < count; i++)
        ps_stack_close(endings[i].stack, false);
}

static void *wait_for_one(void *argument)
{
    (void)argument;
    uint8_t byte;
    ssize_t got;
    while ((got = read(ends[0], &byte, 1)) != 1)
        if (got == 0 || errno != EINTR)
            return NULL;
    by_default(SIGINT); /* Python's handler would only be run by a thread that is stopped */
    if (!stacks_need_python())
        stop_python();
    end_all();
    ps_captures_flush();
    ps_die_by(byte);
    return NULL;
}

static int start(void)
{
    sigset_t all, before;
    pthread_t thread;
    if (owner == getpid())
        return 0;
    if (pipe(ends) != 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread, NULL, wait_for_one, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        return -result;
    pthread_detach(thread);
    owner = getpid();
    return 0;
}

/* In a child: another thread may have been here. */
static void after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

int ps_deliver_before(int number, int (*hold_interpreter)(void),
                      int (*call_soon)(int (*call)(void *), void *argument))
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) != 0)
        return -errno;
    if (action.sa_handler != SIG_DFL)
        return 0; /* ignored, or the program's own */
    pthread_once(&fork_once, watch_forks);
    pthread_mutex_lock(&lock);
    hold = hold_interpreter;
    soon = call_soon;
    int result = start();
    pthread_mutex_unlock(&lock);
    if (result < 0)
        return result;
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_signal;
    action.sa_flags = (int)SA_RESETHAND | SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    return sigaction(number, &action, NULL) != 0 ? -errno : 0;
}
