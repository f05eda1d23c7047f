/*
 * lwIP's view of the compiler and the platform (see lwip/arch.h).
 */
#ifndef PYSTACK_LWIP_ARCH_CC_H
#define PYSTACK_LWIP_ARCH_CC_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* lwIP's debugging output is compiled out; what remains goes nowhere near stdout. */
#define LWIP_PLATFORM_DIAG(x)

/* A failed assertion unwinds to the entry point and ends this Stack alone (assertion.c). */
_Noreturn void port_assertion_failed(const char *text, const char *file, int line);
#define LWIP_PLATFORM_ASSERT(text) port_assertion_failed(text, __FILE__, __LINE__)

/* For what a peer can bring about: a failure is counted ("assertions") and said once in a while,
 * and `handler` drops the packet or ends its connection (assertion.c). */
void port_input_check_failed(const char *text, const char *file, int line);
#define LWIP_INPUT_CHECK(text, condition, handler) \
    do { \
        if (!(condition)) { \
            port_input_check_failed(text, __FILE__, __LINE__); \
            handler; \
        } \
    } while (0)

uint32_t port_random(void);
#define LWIP_RAND() port_random()

/* Sums 8 bytes a step where lwIP's portable version sums 4 (checksum.c). */
uint16_t port_checksum(const void *data, int size);
#define LWIP_CHKSUM port_checksum

#endif
