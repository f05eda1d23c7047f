/*
 * Frames for the services in Python. They are taken before the engine sees them, since a client
 * without an address is sent datagrams to one that it doesn't have yet (RFC 2131 4.1). All others
 * pass with a look into a table, and no frame reaches Python that isn't a service's.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "stack/taps.h"
#include "stack/wake.h"

/* More than these wait for Python only while it is stopped: then a service's are lost, as from a
 * socket's full buffer. */
#define MOST_WAITING 64

enum { ETHERNET = 14, ARP = 28, IPV4_LEAST = 20, IPV6 = 40, UDP = 8, FRAGMENT = 0x3fff };

static unsigned word(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t tap_of_udp(unsigned port, bool v6)
{
    if (port == 5353)
        return PS_TAP_MDNS;
    return port == (v6 ? 546 : 68) ? v6 ? PS_TAP_DHCP6 : PS_TAP_DHCP : 0;
}

static uint32_t tap_of_ip4(const uint8_t *packet, size_t left)
{
    size_t header = (size_t)(packet[0] & 15) * 4;
    if (packet[0] >> 4 != 4 || header < IPV4_LEAST || left < header || packet[9] != IPPROTO_UDP)
        return 0;
    if ((word(packet + 6) & FRAGMENT) != 0)
        return PS_TAP_FRAGMENTS;
    return left < header + UDP ? 0 : tap_of_udp(word(packet + header + 2), false);
}

/* Which of the taps an ordinary packet is for. */
static uint32_t tap_of(const uint8_t *frame, size_t size)
{
    if (size < ETHERNET + IPV4_LEAST)
        return 0;
    const uint8_t *packet = frame + ETHERNET;
    size_t left = size - ETHERNET;
    switch (word(frame + 12)) {
    case 0x0806:
        return left < ARP ? 0 : PS_TAP_ARP;
    case 0x0800:
        return tap_of_ip4(packet, left);
    case 0x86dd:
        if (packet[0] >> 4 != 6 || left < IPV6 + UDP)
            return 0;
        if (packet[6] == IPPROTO_ICMPV6)
            return packet[IPV6] == 134 ? PS_TAP_ROUTERS : 0;
        return packet[6] == IPPROTO_UDP ? tap_of_udp(word(packet + IPV6 + 2), true) : 0;
    default:
        return 0;
    }
}

static bool keep(ps_stack *stack, uint32_t index)
{
    struct serving *serving = &stack->serving;
    const struct nic_frame *frame = &stack->frame;
    if (serving->count >= MOST_WAITING)
        return true;
    struct tapped_frame *kept = malloc(sizeof *kept + frame->size);
    if (kept == NULL)
        return false;
    kept->next = NULL;
    kept->interface = index;
    kept->is_whole = frame->offload.checksum == PS_CHECKSUM_WHOLE;
    kept->size = frame->size;
    memcpy(kept->bytes, frame->bytes, frame->size);
    struct tapped_frame **end = &serving->first;
    while (*end != NULL)
        end = &(*end)->next;
    *end = kept;
    serving->count++;
    stack_wake(stack); /* whoever drives, whether or not it is who took the frame in */
    return true;
}

bool taps_take(ps_stack *stack, uint32_t index)
{
    const struct ps_serving *shown = stack->serving.of[index];
    if (shown == NULL || shown->taps == 0 || stack->nics[index]->layer != PS_LAYER_ETHERNET)
        return false;
    uint32_t tap = shown->taps & tap_of(stack->frame.bytes, stack->frame.size);
    bool kept = tap != 0 && keep(stack, index);
    return kept && (tap & (PS_TAP_DHCP | PS_TAP_DHCP6)) != 0;
}

struct tapped_frame *taps_next(ps_stack *stack)
{
    struct tapped_frame *first = stack->serving.first;
    if (first != NULL) {
        stack->serving.first = first->next;
        stack->serving.count--;
    }
    return first;
}

void taps_forget_frames(ps_stack *stack)
{
    struct tapped_frame *each;
    while ((each = taps_next(stack)) != NULL)
        free(each);
}

const struct ps_serving *taps_of(const ps_stack *stack, uint32_t index)
{
    return index < MOST_INTERFACES ? stack->serving.of[index] : NULL;
}

int taps_put(ps_stack *stack, uint32_t index, const struct ps_serving *serving)
{
    struct ps_serving **place = &stack->serving.of[index];
    if (serving == NULL) {
        stack->serving.interfaces -= *place != NULL;
        free(*place);
        *place = NULL;
        return 0;
    }
    if (*place == NULL) {
        *place = malloc(sizeof **place);
        if (*place == NULL)
            return -ENOMEM;
        stack->serving.interfaces++;
    }
    **place = *serving;
    return 0;
}

void taps_drop_all(ps_stack *stack)
{
    for (uint32_t index = 0; index < MOST_INTERFACES; index++)
        taps_put(stack, index, NULL);
    taps_forget_frames(stack);
}
