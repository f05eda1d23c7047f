/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_DEVICE_H
#define ANYK_DEVICE_H

#include <linux/netdevice.h>

/* Whether a device is one of ours, with the host for a wire. */
bool anyk_device_is_ours(const struct net_device *device);

#endif
