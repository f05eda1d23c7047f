/*
 * See counts.h.
 */
#include "base/counts.h"

struct port_counts port_counts;
