/*
 * Waiting for a frame on a NIC that no Stack has.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "api/nic_api.h"
#include "nic/nic.h"

/* So that a signal that comes between Python's look for one and our sleep is seen all the same. */
#define LONGEST_SLEEP_US 500000

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool has_rung;
};

static void ring(void *argument)
{
    struct bell *bell = argument;
    pthread_mutex_lock(&bell->lock);
    bell->has_rung = true;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

static int wait_for_bell(ps_nic *nic, int64_t timeout_us)
{
    struct bell bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + (uint64_t)timeout_us * 1000;
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    nic_watch(nic, ring, &bell);
    /* A frame that came before the bell was hung rang nothing: the caller has looked, and
     * looks again each time that we return. */
    pthread_mutex_lock(&bell.lock);
    int result = 0;
    while (!bell.has_rung && result == 0)
        result = pthread_cond_timedwait(&bell.rung, &bell.lock, &until);
    bool rung = bell.has_rung;
    pthread_mutex_unlock(&bell.lock);
    nic_watch(nic, NULL, NULL);
    return rung;
}

int ps_nic_wait(ps_nic *nic, int64_t timeout_us)
{
    bool whole = timeout_us >= 0 && timeout_us <= LONGEST_SLEEP_US;
    int64_t sleep_us = whole ? timeout_us : LONGEST_SLEEP_US;
    if (atomic_exchange(&nic->attached, true))
        return -EBUSY;
    int descriptor = nic_descriptor(nic), result;
    if (descriptor >= 0) {
        struct pollfd watched = {descriptor, POLLIN, 0};
        result = poll(&watched, 1, (int)((sleep_us + 999) / 1000));
        result = result < 0 ? -errno : result;
    } else {
        result = wait_for_bell(nic, sleep_us < 20000 ? sleep_us : 20000);
        whole = whole && sleep_us <= 20000;
    }
    atomic_store(&nic->attached, false);
    return result == 0 && !whole ? -EINTR : result;
}
