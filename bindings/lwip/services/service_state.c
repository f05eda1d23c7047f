/*
 * What the services keep of each netif.
 */
#include "services/service_state.h"

#include "base/memory.h"

static struct service_state *states;

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
