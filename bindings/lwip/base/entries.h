/*
 * The entries of the engine's table: engine_NAME for each call in engine.h. Each is defined in the
 * file whose subject it is; engine.c puts them together.
 */
#ifndef PYSTACK_LWIP_ENTRIES_H
#define PYSTACK_LWIP_ENTRIES_H

#include "engine.h"

#define DECLARE(result, name, parameters, arguments) \
    result engine_##name(ps_engine *engine, PS_UNPACK parameters);
PS_ENGINE_CALLS(DECLARE)
PS_ENGINE_OPTIONAL_CALLS(DECLARE)
#undef DECLARE

#endif
