// SPDX-License-Identifier: GPL-2.0
/* Network devices whose wire is the host: creating, removing, sending. */
#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <net/pkt_sched.h>
#include "border.h"
#include "device.h"
#include "loop.h"

/* The largest frame: its length, header included, has 16 bits. */
#define MOST_MTU 65500

static void send_frame(void *frame)
{
    anyk_host->frame_out(anyk_host->user, frame);
}

unsigned anyk_pieces(const struct sk_buff *skb, struct anyk_piece pieces[ANYK_PIECES_MAXIMUM])
{
    const struct skb_shared_info *shared = skb_shinfo(skb);
    unsigned i;

    BUILD_BUG_ON(1 + MAX_SKB_FRAGS > ANYK_PIECES_MAXIMUM);
    pieces[0].base = skb->data;
    pieces[0].size = skb_headlen(skb);
    for (i = 0; i < shared->nr_frags; i++) {
        pieces[1 + i].base = skb_frag_address(&shared->frags[i]);
        pieces[1 + i].size = skb_frag_size(&shared->frags[i]);
    }
    return 1 + shared->nr_frags;
}

static void describe_offload(const struct sk_buff *skb, struct anyk_frame *frame)
{
    const struct skb_shared_info *shared = skb_shinfo(skb);

    if (skb->ip_summed == CHECKSUM_PARTIAL) {
        frame->partial = ANYK_CHECKSUM_PARTIAL;
        frame->checksum_start = skb_checksum_start_offset(skb);
        frame->checksum_offset = skb->csum_offset;
    }
    if (!skb_is_gso(skb))
        return;
    frame->segment_size = shared->gso_size;
    if (shared->gso_type & SKB_GSO_TCPV4)
        frame->segmentation = ANYK_SEGMENT_TCP4;
    else if (shared->gso_type & SKB_GSO_TCPV6)
        frame->segmentation = ANYK_SEGMENT_TCP6;
    else
        frame->segmentation = ANYK_SEGMENT_UDP;
}

static netdev_tx_t transmit(struct sk_buff *skb, struct net_device *device)
{
    struct anyk_frame frame;

    frame.interface = device->ifindex;
    frame.total = skb->len;
    frame.partial = ANYK_CHECKSUM_WHOLE;
    frame.segmentation = ANYK_SEGMENT_NONE;
    frame.segment_size = frame.checksum_start = frame.checksum_offset = 0;
    frame.count = anyk_pieces(skb, frame.pieces);
    describe_offload(skb, &frame);
    anyk_on_host_stack(send_frame, &frame);
    if (frame.result) {
        device->stats.tx_dropped++;
    } else {
        device->stats.tx_packets++;
        device->stats.tx_bytes += skb->len;
    }
    dev_consume_skb_any(skb);
    return NETDEV_TX_OK;
}

static int set_mac(struct net_device *device, void *address)
{
    return device->addr_len ? eth_mac_addr(device, address) : -EOPNOTSUPP;
}

static const struct net_device_ops operations = {
    .ndo_start_xmit = transmit,
    .ndo_set_mac_address = set_mac,
};

bool anyk_device_is_ours(const struct net_device *device)
{
    return device->netdev_ops == &operations;
}

static void set_up(struct net_device *device)
{
    device->netdev_ops = &operations;
    device->needs_free_netdev = true;
    device->max_mtu = MOST_MTU;
}

static void set_up_ethernet(struct net_device *device)
{
    ether_setup(device);
    set_up(device);
    device->priv_flags |= IFF_LIVE_ADDR_CHANGE;
}

/* IP packets without a header before them, as on a TUN device. */
static void set_up_ip(struct net_device *device)
{
    set_up(device);
    device->type = ARPHRD_NONE;
    device->hard_header_len = 0;
    device->addr_len = 0;
    device->min_mtu = ETH_MIN_MTU;
    device->tx_queue_len = DEFAULT_TX_QUEUE_LEN;
    device->flags = IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST;
}

static netdev_features_t features(unsigned offloads)
{
    netdev_features_t found = NETIF_F_SG | NETIF_F_HIGHDMA | NETIF_F_RXCSUM;

    if (offloads & ANYK_OFFLOAD_CHECKSUM)
        found |= NETIF_F_HW_CSUM;
    if (offloads & ANYK_OFFLOAD_TCP4)
        found |= NETIF_F_TSO | NETIF_F_TSO_ECN;
    if (offloads & ANYK_OFFLOAD_TCP6)
        found |= NETIF_F_TSO6;
    if (offloads & ANYK_OFFLOAD_UDP)
        found |= NETIF_F_GSO_UDP_L4;
    return found;
}

/* Lets TCP hand over more at once than IPv4's length field can say (BIG TCP). */
static void allow_longest(struct net_device *device)
{
    netif_set_tso_max_size(device, ANYK_LONGEST);
    WRITE_ONCE(device->gso_ipv4_max_size, ANYK_LONGEST);
}

struct wanted {
    const char *name;
    unsigned mtu;
    const unsigned char *mac;
    bool ethernet;
    unsigned offloads;
    long result;
};

static void add(void *argument)
{
    struct wanted *wanted = argument;
    struct net_device *device = alloc_netdev(0, wanted->name, NET_NAME_USER,
                                             wanted->ethernet ? set_up_ethernet : set_up_ip);
    int error;

    if (!device) {
        wanted->result = -ENOMEM;
        return;
    }
    device->mtu = wanted->mtu;
    device->features = features(wanted->offloads);
    device->hw_features = device->features;
    if (wanted->offloads & ANYK_OFFLOAD_TCP4_LONGEST)
        allow_longest(device);
    if (wanted->ethernet) {
        if (wanted->mac)
            eth_hw_addr_set(device, wanted->mac);
        else
            eth_hw_addr_random(device);
    }
    error = register_netdev(device);
    if (error)
        free_netdev(device);
    wanted->result = error ? error : device->ifindex;
}

long anyk_interface_add(const char *name, unsigned mtu, const unsigned char *mac, int ethernet,
                        unsigned offloads)
{
    struct wanted wanted = {name, mtu, mac, ethernet, offloads};

    anyk_call(add, &wanted);
    return wanted.result;
}

struct change {
    unsigned index;
    void (*make)(struct net_device *device);
    int result;
};

static void change(void *argument)
{
    struct change *change = argument;
    struct net_device *device;

    change->result = -ENODEV;
    rtnl_lock();
    device = __dev_get_by_index(&init_net, change->index);
    if (device && anyk_device_is_ours(device)) {
        change->make(device);
        change->result = 0;
    }
    rtnl_unlock();
}

static void remove(struct net_device *device)
{
    unregister_netdevice(device);
}

int anyk_interface_remove(unsigned index)
{
    struct change wanted = {index, remove};

    anyk_call(change, &wanted);
    return wanted.result;
}

int anyk_interface_link(unsigned index, int up)
{
    struct change wanted = {index, up ? netif_carrier_on : netif_carrier_off};

    anyk_call(change, &wanted);
    return wanted.result;
}
