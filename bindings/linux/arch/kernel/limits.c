// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory all TCP sockets together may take. On a machine as small as a Stack the kernel
 * reserves most of it for other purposes, of which there are none here.
 *
 * What one socket's buffers may grow to (tcp_rmem, tcp_wmem) is not set here: the kernel's choice
 * for so small a machine is half a mebibyte, and the engine, which knows how large its memory is,
 * sets a larger one (let_buffers_grow, engine/engine.c), measured by what a bulk transfer between
 * two Stacks of a process takes.
 */
#include <linux/mm.h>
#include <net/tcp.h>
#include "limits.h"

void anyk_set_limits(void)
{
    unsigned long pages = nr_free_buffer_pages();

    /* tcp_mem: no pressure below the first, pressure from the second on, the third is the limit. */
    sysctl_tcp_mem[0] = pages / 4;
    sysctl_tcp_mem[1] = pages / 2;
    sysctl_tcp_mem[2] = pages / 4 * 3;
}
