/*
 * What the services keep of each netif, and the clock that looks after it.
 */
#include "services/service_state.h"

#include "base/memory.h"
#include "lwip/timeouts.h"

#define WATCH_INTERVAL_MS 1000

static struct service_state *states;
static void (*each_second)(struct service_state *state);
static bool watching;

struct service_state *service_state_first(void)
{
    return states;
}

struct service_state *service_state_of(const struct netif *netif)
{
    struct service_state *state = states;
    while (state != NULL && state->netif != netif)
        state = state->next;
    return state;
}

static void watch(void *argument)
{
    (void)argument;
    for (struct service_state *state = states; state != NULL; state = state->next)
        each_second(state);
    watching = states != NULL;
    if (watching)
        sys_timeout(WATCH_INTERVAL_MS, watch, NULL);
}

struct service_state *service_state_needed(struct netif *netif)
{
    struct service_state *state = service_state_of(netif);
    if (state != NULL)
        return state;
    state = port_allocate(sizeof *state);
    if (state == NULL)
        return NULL;
    state->netif = netif;
    state->next = states;
    states = state;
    if (!watching)
        sys_timeout(WATCH_INTERVAL_MS, watch, NULL);
    watching = true;
    return state;
}

void service_state_drop(struct service_state *state)
{
    struct service_state **link = &states;
    while (*link != state)
        link = &(*link)->next;
    *link = state->next;
    if (state->netif->hostname == state->hostname)
        netif_set_hostname(state->netif, NULL);
    port_free(state);
}

void service_state_init(void (*watcher)(struct service_state *state))
{
    each_second = watcher;
}

void service_state_close(void)
{
    if (watching)
        sys_untimeout(watch, NULL);
    watching = false;
}
