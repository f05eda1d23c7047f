// SPDX-License-Identifier: GPL-2.0
/* Requests to rtnetlink(7), and what it answers. */
#ifndef PYSTACK_LINUX_NETLINK_H
#define PYSTACK_LINUX_NETLINK_H

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "engine/linux.h"

struct request {
    struct nlmsghdr h;
    char body[512];
};

/* What one message says, into `out`; false: it isn't for this listing. */
typedef bool describe(ps_engine *self, const struct nlmsghdr *message, void *out);

/* A request whose message begins with the `size` bytes of `head`, or with zeros for NULL. */
struct request *begin(struct request *r, int type, int flags, const void *head, size_t size);
void attribute(struct request *r, int type, const void *data, size_t size);

/* Makes a change: 0 or a negative errno. */
int carry_out(ps_engine *self, struct request *r);

/* Asks for one object: 0, a negative errno, or -ENODATA for an answer that `describe` refuses. */
int ask_for(ps_engine *self, struct request *r, describe *describe, void *out);

/* The entry at `position` of a dump, whose request begins with `head` zeros: 1, 0 past the end, or
 * a negative errno. Position 0 has the kernel asked anew. */
int entry_at(ps_engine *self, struct listing *listing, int type, size_t head, size_t position,
             describe *describe, void *out);

/* Called with one message of a dump: 0, or a negative errno, which ends it. */
typedef int each_message(ps_engine *self, const struct nlmsghdr *message, void *user);

/* Calls `each` with every message of a dump, on a netlink socket of any protocol: 0 or a negative
 * errno. */
int for_each(ps_engine *self, int netlink, struct request *r, each_message *each, void *user);

/* Makes a change, on a netlink socket of any protocol. */
int carry_out_by(ps_engine *self, int netlink, struct request *r);

#endif
