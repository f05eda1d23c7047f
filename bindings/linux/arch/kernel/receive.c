// SPDX-License-Identifier: GPL-2.0
/* Incoming frames. */
#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/virtio_net.h>
#include "border.h"
#include "device.h"
#include "loop.h"

/* How much of a long frame is linear: the headers. The rest is in pages. */
#define LINEAR 256
#define RESERVED (NET_SKB_PAD + NET_IP_ALIGN)

/* What the host reads a frame into: more than the longest has. */
#define ROOM (LINEAR + 65536)
/* A frame that leaves more of it empty is copied, or it would hold on to all of that memory. */
#define LEAST_KEPT 32768

/* Where the host reads the next frame; NULL: nowhere yet. */
static struct sk_buff *room;

static struct sk_buff *in_pages(unsigned long size)
{
    int error;
    struct sk_buff *skb = alloc_skb_with_frags(RESERVED + LINEAR, size - LINEAR,
                                               PAGE_ALLOC_COSTLY_ORDER, &error, GFP_ATOMIC);

    if (!skb)
        return NULL;
    skb_reserve(skb, RESERVED);
    skb_put(skb, LINEAR);
    skb->data_len = size - LINEAR;
    skb->len = size;
    return skb;
}

static struct sk_buff *empty(struct net_device *device, unsigned long size)
{
    struct sk_buff *skb;

    if (size > SKB_MAX_HEAD(RESERVED))
        return in_pages(size);
    skb = netdev_alloc_skb_ip_align(device, size);
    if (skb)
        skb_put(skb, size);
    return skb;
}

static struct sk_buff *copy(struct net_device *device, const void *frame, unsigned long size)
{
    struct sk_buff *skb = empty(device, size);

    if (skb)
        skb_store_bits(skb, 0, frame, size);
    return skb;
}

/* The frame that was read into the room, which goes with it if it is long. */
static struct sk_buff *taken(struct net_device *device, unsigned long size)
{
    const struct skb_shared_info *shared = skb_shinfo(room);
    unsigned long done = min(size, (unsigned long)LINEAR), part;
    struct sk_buff *skb;
    unsigned i;

    if (size >= LEAST_KEPT) {
        skb = room;
        room = NULL;
        if (pskb_trim(skb, size) == 0)
            return skb;
        kfree_skb(skb);
        return NULL;
    }
    skb = empty(device, size);
    if (!skb)
        return NULL;
    skb_store_bits(skb, 0, room->data, done);
    for (i = 0; done < size; i++, done += part) {
        part = min(size - done, (unsigned long)skb_frag_size(&shared->frags[i]));
        skb_store_bits(skb, done, skb_frag_address(&shared->frags[i]), part);
    }
    return skb;
}

/* Offloads: work the sender left undone. */
static int note_offload(struct sk_buff *skb, const struct anyk_frame *left)
{
    struct skb_shared_info *shared = skb_shinfo(skb);

    if (left->partial == ANYK_CHECKSUM_PARTIAL) {
        if (!skb_partial_csum_set(skb, left->checksum_start, left->checksum_offset))
            return -EINVAL;
    } else if (left->partial == ANYK_CHECKSUM_TRUSTED) {
        skb->ip_summed = CHECKSUM_UNNECESSARY;
    }
    switch (left->segmentation) {
    case ANYK_SEGMENT_NONE:
        return 0;
    case ANYK_SEGMENT_TCP4:
        shared->gso_type = SKB_GSO_TCPV4;
        break;
    case ANYK_SEGMENT_TCP6:
        shared->gso_type = SKB_GSO_TCPV6;
        break;
    case ANYK_SEGMENT_UDP:
        shared->gso_type = SKB_GSO_UDP_L4;
        break;
    default:
        return -EINVAL;
    }
    if (left->segment_size == 0)
        return -EINVAL;
    /* The sender didn't count the segments. */
    shared->gso_type |= SKB_GSO_DODGY;
    shared->gso_size = left->segment_size;
    return 0;
}

static void set_protocol(struct sk_buff *skb, struct net_device *device)
{
    if (device->type == ARPHRD_ETHER) {
        skb->protocol = eth_type_trans(skb, device);
        return;
    }
    skb->protocol = (*skb->data >> 4) == 6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
    skb_reset_mac_header(skb);
}

/* `frame` NULL: it is in the room. */
static int receive(struct net_device *device, const void *frame, unsigned long size,
                   const struct anyk_frame *left)
{
    struct sk_buff *skb;
    int error;

    if (size < (device->type == ARPHRD_ETHER ? ETH_HLEN : 1))
        return -EINVAL;
    skb = frame ? copy(device, frame, size) : taken(device, size);
    if (!skb) {
        device->stats.rx_dropped++;
        return -ENOBUFS;
    }
    skb->dev = device;
    error = left ? note_offload(skb, left) : 0;
    if (error) {
        kfree_skb(skb);
        return error;
    }
    set_protocol(skb, device);
    skb_probe_transport_header(skb);
    device->stats.rx_packets++;
    device->stats.rx_bytes += size;
    netif_rx(skb);
    return 0;
}

struct arrival {
    unsigned index;
    const void *frame;
    unsigned long size;
    const struct anyk_frame *left;
    int result;
};

static void arrive(void *argument)
{
    struct arrival *arrival = argument;
    struct net_device *device;

    arrival->result = -ENODEV;
    rcu_read_lock();
    device = dev_get_by_index_rcu(&init_net, arrival->index);
    if (device && anyk_device_is_ours(device))
        arrival->result = receive(device, arrival->frame, arrival->size, arrival->left);
    rcu_read_unlock();
}

static void make_room(void *unused)
{
    room = in_pages(ROOM);
}

int anyk_frame_room(struct anyk_piece pieces[ANYK_PIECES_MAXIMUM])
{
    if (!room)
        anyk_interrupt(make_room, NULL);
    if (!room)
        return -ENOMEM;
    return anyk_pieces(room, pieces);
}

int anyk_frame_in_room(unsigned index, unsigned long size, const struct anyk_frame *left)
{
    struct arrival arrival = {index, NULL, size, left};

    if (!room || size > ROOM)
        return -EINVAL;
    anyk_interrupt(arrive, &arrival);
    return arrival.result;
}

int anyk_frame_in(unsigned index, const void *frame, unsigned long size,
                  const struct anyk_frame *left)
{
    struct arrival arrival = {index, frame, size, left};

    anyk_interrupt(arrive, &arrival);
    return arrival.result;
}
