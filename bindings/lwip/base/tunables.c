/*
 * See tunables.h.
 */
#include "base/tunables.h"

struct port_tunables tunables;
