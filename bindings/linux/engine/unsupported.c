// SPDX-License-Identifier: GPL-2.0
/* What Linux leaves to programs. */
#include <errno.h>
#include <string.h>
#include "engine/interface.h"

int engine_service_set(ps_engine *self, uint32_t index, enum ps_service service, bool on,
                       const char *name)
{
    (void)name;
    if (service == PS_SERVICE_SLAAC)
        return slaac(self, index, on);
    return on ? -EOPNOTSUPP : 0;
}
int engine_lease_get(ps_engine *e, uint32_t i, struct ps_lease *o)
{
    (void)e, (void)i;
    memset(o, 0, sizeof *o);
    return 0;
}
int64_t engine_resolve_start(ps_engine *e, const char *n, enum ps_family f)
{
    (void)e, (void)n, (void)f;
    return -EOPNOTSUPP;
}
int engine_resolve_result(ps_engine *e, int64_t r, struct ps_address *o, size_t n)
{
    (void)e, (void)r, (void)o, (void)n;
    return -ENOENT;
}
int engine_resolve_cancel(ps_engine *e, int64_t r)
{
    (void)e, (void)r;
    return -ENOENT;
}
