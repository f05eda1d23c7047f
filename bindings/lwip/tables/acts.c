/*
 * Whether the engine does anything by itself.
 */
#include "base/timeouts.h"
#include "intercept/intercept.h"
#include "ip/neighbour.h"
#include "tables/tables.h"
#include "tcp/tcp_handshake.h"
#include "tcp/tcp_timer.h"

bool acts_alone(void)
{
    return timeouts_act_alone() || tcp_timer_acts_alone() || neighbours_act_alone() ||
           handshake_next_us() != UINT64_MAX || intercept_next_us() != UINT64_MAX;
}
