// SPDX-License-Identifier: GPL-2.0
/* Numbers of Linux's that a C library's headers may not have yet. */
#ifndef PYSTACK_LINUX_OPTION_H
#define PYSTACK_LINUX_OPTION_H

#define LINUX_SO_TIMESTAMPNS 35
#define LINUX_SO_RXQ_OVFL 40

#define LINUX_IPV6_RECVORIGDSTADDR 74

#define LINUX_UDP_SEGMENT 103
#define LINUX_UDP_GRO 104

/* ioctl(2) */
#define LINUX_FIONREAD 0x541b
#define LINUX_SIOCATMARK 0x8905
#define LINUX_SIOCOUTQ 0x5411
#define LINUX_SIOCOUTQNSD 0x894b

#endif
