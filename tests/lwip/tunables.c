/* Our settings, as lwIP's own tests expect them to be. */
#include "base/tunables.h"

struct port_tunables tunables = {
    .tcp_rto_min_ms = 1000,
    .tcp_delayed_ack = 1,
    .tcp_timestamps = 1,
    .tcp_sack = 1,
    .tcp_window_scaling = 1,
};
