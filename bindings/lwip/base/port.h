/*
 * The ground of the lwIP engine: its one instance.
 *
 * lwIP keeps its state in globals, and so does this port: the host loads a private copy of
 * the image for each Stack.
 */
#ifndef PYSTACK_LWIP_PORT_H
#define PYSTACK_LWIP_PORT_H

#include <errno.h>

#include "engine.h"

struct ps_engine {
    struct ps_hypercalls hypercalls;
    bool short_of_memory; /* since the engine was left last */
    uint64_t now_us;      /* read once at each entry */
    bool open;
    bool silent;    /* sends nothing more: it is being closed abruptly */
    bool answering; /* takes a frame: what it sends meanwhile, others have called for */
};

/* The one instance of this image. */
extern struct ps_engine port;

#endif
