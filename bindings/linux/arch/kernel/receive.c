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

static struct sk_buff *copy(struct net_device *device, const void *frame, unsigned long size)
{
    struct sk_buff *skb;
    int error;

    if (size <= SKB_MAX_HEAD(RESERVED)) {
        skb = netdev_alloc_skb_ip_align(device, size);
        if (skb)
            skb_put_data(skb, frame, size);
        return skb;
    }
    skb = alloc_skb_with_frags(RESERVED + LINEAR, size - LINEAR, PAGE_ALLOC_COSTLY_ORDER, &error,
                               GFP_ATOMIC);
    if (!skb)
        return NULL;
    skb->dev = device;
    skb_reserve(skb, RESERVED);
    skb_put(skb, LINEAR);
    skb->data_len = size - LINEAR;
    skb->len = size;
    skb_store_bits(skb, 0, frame, size);
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

static int receive(struct net_device *device, const void *frame, unsigned long size,
                   const struct anyk_frame *left)
{
    struct sk_buff *skb;
    int error;

    if (size < (device->type == ARPHRD_ETHER ? ETH_HLEN : 1))
        return -EINVAL;
    skb = copy(device, frame, size);
    if (!skb) {
        device->stats.rx_dropped++;
        return -ENOBUFS;
    }
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

int anyk_frame_in(unsigned index, const void *frame, unsigned long size,
                  const struct anyk_frame *left)
{
    struct arrival arrival = {index, frame, size, left};

    anyk_interrupt(arrive, &arrival);
    return arrival.result;
}
