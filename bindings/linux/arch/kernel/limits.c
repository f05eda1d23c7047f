// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory all TCP sockets together may take. On a machine as small as a Stack the kernel
 * reserves most of it for other purposes, of which there are none here.
 *
 * What one socket's buffers may grow to (tcp_rmem, tcp_wmem) stays at the half megabyte that suits
 * so small a machine. With the six megabytes of a large one, data between two Stacks of a process
 * has left the processor's caches by the time it is read, and a bulk transfer takes a third more
 * time.
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
