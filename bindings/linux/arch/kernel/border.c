// SPDX-License-Identifier: GPL-2.0
#include "border.h"
#include "switch.h"

/* The host may use memory below its stack pointer: the red zone of the System V ABI on x86-64, 128
 * bytes. */
#define RED_ZONE 256

const struct anyk_host *anyk_host;
static void *host_sp, *kernel_sp;

void anyk_to_host(void)
{
    anyk_swap(&kernel_sp, host_sp);
}

void anyk_to_kernel(void)
{
    anyk_swap(&host_sp, kernel_sp);
}

void anyk_begin_kernel(void *top, void (*fn)(void))
{
    kernel_sp = anyk_fresh_stack(top, fn);
}

void anyk_on_host_stack(void (*fn)(void *), void *argument)
{
    anyk_call_on(fn, argument, (char *)host_sp - RED_ZONE);
}
