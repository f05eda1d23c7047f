/*
 * lwIP as an embedder gets it: upstream's defaults, with only what an agent needs to run at all.
 *
 * Each line says why it can't be left out. Everything else is opt.h's own: pool sizes, windows,
 * timers, and which checks are made.
 */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1               /* one thread, which owns the clock */
#define SYS_LIGHTWEIGHT_PROT 0 /* nothing to protect from */
#define LWIP_SOCKET 0          /* these two need an operating system */
#define LWIP_NETCONN 0
#define MEM_ALIGNMENT 8        /* a 64-bit machine; the default is for one of 8 bits */
#define MEM_SIZE 65536         /* 1600 bytes hold no full-sized datagram in fragments */
#define PBUF_POOL_SIZE 64      /* as many frames as one case has under way */
#define IPV6_FRAG_COPYHEADER 1 /* needed where pointers have 64 bits */

#define LWIP_IPV6 1 /* what the cases are about, and off by default */
#define LWIP_DHCP 1
#define LWIP_AUTOIP 1
#define LWIP_IGMP 1
#define LWIP_RAW 1
#define SO_REUSE 1

#endif
