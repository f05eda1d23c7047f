/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_DEVICE_H
#define ANYK_DEVICE_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <asm/anyk.h>

/* Whether a device is one of ours, with the host for a wire. */
bool anyk_device_is_ours(const struct net_device *device);

/* Where a frame's bytes lie; the number of pieces. */
unsigned anyk_pieces(const struct sk_buff *skb, struct anyk_piece pieces[ANYK_PIECES_MAXIMUM]);

#endif
