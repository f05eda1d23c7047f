/*
 * The mDNS responder.
 */
#ifndef PYSTACK_LWIP_MDNS_H
#define PYSTACK_LWIP_MDNS_H

#include "services/service_state.h"

int mdns_start(struct service_state *state, const char *name);
void mdns_stop(struct service_state *state);

#endif
