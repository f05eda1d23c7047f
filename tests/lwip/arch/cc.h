/* What lwIP asks of a compiler and a system, to run its own tests here with our patches. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/tunables.h"

#define LWIP_TIMEVAL_PRIVATE 0
#define LWIP_ERRNO_STDINCLUDE 1
#define LWIP_RAND() ((u32_t)rand())

/* What the patches call of our port. The lists are walked, as without a port. */
#define LWIP_HOOK_TCP_FREE(pcb)
#define LWIP_HOOK_TCP_ACTIVE(pcb)
#define LWIP_INPUT_CHECK(text, condition, handler) \
    do { \
        if (!(condition)) { \
            handler; \
        } \
    } while (0)
#define hook_icmp4_may_answer(...) 1
#define hook_icmp6_may_answer(...) 1
