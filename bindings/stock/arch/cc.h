/* The compiler and the machine, for stock lwIP in a process of its own. */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* A failed assertion ends the process, with its text as the last line: the lab reads it. */
#define LWIP_PLATFORM_ASSERT(text) \
    do { \
        fprintf(stderr, "assertion failed: %s\n", text); \
        abort(); \
    } while (0)
#define LWIP_PLATFORM_DIAG(words) \
    do { \
    } while (0)

uint32_t stock_random(void);
#define LWIP_RAND() stock_random()

#endif
