/*
 * What a NAT does to packets: those that leave by the outside get its address as their source,
 * those that come get the inside endpoint as their destination, and what inside hosts send to a
 * port of the outside address turns around (RFC 4787, requirement 9).
 */
#include <string.h>

#include "world/nat.h"

#define FRAGMENTS_US (30 * UINT64_C(1000000))

static bool untranslatable(struct nat_table *table)
{
    table->counts.untranslatable++;
    return false;
}

static bool filtered(struct nat_table *table)
{
    table->counts.filtered++;
    return false;
}

/* --- fragments ----------------------------------------------------------------------------- */

static struct first_fragment identity(const struct nat_packet *packet)
{
    struct first_fragment found = {.protocol = packet->protocol};
    memcpy(&found.source, packet->ip + 12, 4);
    memcpy(&found.destination, packet->ip + 16, 4);
    memcpy(&found.identification, packet->ip + 4, 2);
    return found;
}

static void remember_first(struct nat_table *table, struct first_fragment first, uint32_t to,
                           uint64_t now_us)
{
    first.to = to;
    first.until_us = now_us + FRAGMENTS_US;
    table->fragments[table->next_fragment++ % NAT_FRAGMENTS] = first;
}

/* A later one goes as the first did. One that overtook it is dropped. */
static bool translate_fragment(struct nat_table *table, struct nat_packet *packet, bool is_outgoing,
                               uint64_t now_us)
{
    struct first_fragment wanted = identity(packet);
    for (size_t i = 0; i < NAT_FRAGMENTS; i++) {
        const struct first_fragment *each = &table->fragments[i];
        if (each->until_us <= now_us || each->source != wanted.source ||
            each->destination != wanted.destination || each->protocol != wanted.protocol ||
            each->identification != wanted.identification)
            continue;
        (is_outgoing ? nat_set_source : nat_set_destination)(packet, (struct nat_end){each->to, 0});
        return true;
    }
    return untranslatable(table);
}

/* --- outgoing ------------------------------------------------------------------------------ */

/* From the inside to a remote end: its mapping, which it keeps alive. */
static struct nat_mapping *map_out(struct nat_table *table, const struct nat_packet *packet,
                                   struct nat_end remote, uint64_t now_us)
{
    struct nat_mapping *mapping =
        nat_map_out(table, packet->protocol, nat_source(packet), remote, now_us);
    bool noted = mapping != NULL && nat_note(table, mapping, remote, true, packet->flags, now_us);
    return noted ? mapping : NULL;
}

/* RFC 5508, requirement 5: the packet that it is about was sent to what is inside. */
static bool translate_error_out(struct nat_table *table, struct nat_packet *error, uint64_t now_us)
{
    struct nat_packet quoted = nat_quoted(error);
    bool is_known = quoted.sort == NAT_TRANSPORT || quoted.sort == NAT_ANSWER;
    if (!is_known || !nat_error_is_sound(error))
        return untranslatable(table);
    struct nat_mapping *mapping = nat_find_inside(table, quoted.protocol, nat_destination(&quoted),
                                                  nat_source(&quoted), now_us);
    if (mapping == NULL)
        return untranslatable(table);
    nat_set_destination(&quoted, (struct nat_end){table->address, mapping->outside_port});
    nat_seal_error(error);
    nat_set_source(error, (struct nat_end){table->address, 0});
    table->counts.outgoing++;
    return true;
}

bool nat_translate_out(struct nat_table *table, struct nat_packet *packet, uint64_t now_us)
{
    bool is_own = nat_source(packet).address == table->address;
    if (packet->sort == NAT_MALFORMED)
        return untranslatable(table);
    if (packet->sort == NAT_FRAGMENT)
        return translate_fragment(table, packet, true, now_us);
    if (packet->sort == NAT_ERROR)
        return translate_error_out(table, packet, now_us) || is_own;
    if (packet->sort != NAT_TRANSPORT && packet->sort != NAT_QUERY)
        return is_own || untranslatable(table);
    struct first_fragment first = identity(packet);
    struct nat_mapping *mapping = map_out(table, packet, nat_destination(packet), now_us);
    if (mapping == NULL)
        return false;
    nat_set_source(packet, (struct nat_end){table->address, mapping->outside_port});
    table->counts.outgoing++;
    if (packet->has_more)
        remember_first(table, first, table->address, now_us);
    return true;
}

/* --- incoming ------------------------------------------------------------------------------ */

static bool translate_error_in(struct nat_table *table, struct nat_packet *error, uint64_t now_us)
{
    struct nat_packet quoted = nat_quoted(error);
    bool is_known = quoted.sort == NAT_TRANSPORT || quoted.sort == NAT_QUERY;
    if (!is_known || nat_source(&quoted).address != table->address || !nat_error_is_sound(error))
        return filtered(table);
    struct nat_mapping *mapping =
        nat_find_outside(table, quoted.protocol, nat_source(&quoted).port, now_us);
    if (mapping == NULL || !nat_lets_in(table, mapping, nat_destination(&quoted)))
        return filtered(table);
    nat_set_source(&quoted, mapping->inside);
    nat_seal_error(error);
    nat_set_destination(error, (struct nat_end){mapping->inside.address, 0});
    table->counts.incoming++;
    return true;
}

/* The mapping that a packet to the outside address is for, if that lets it in. */
static struct nat_mapping *admit(struct nat_table *table, const struct nat_packet *packet,
                                 struct nat_end remote, uint64_t now_us)
{
    struct nat_mapping *mapping =
        nat_find_outside(table, packet->protocol, nat_destination(packet).port, now_us);
    if (mapping == NULL || !nat_lets_in(table, mapping, remote)) {
        filtered(table);
        return NULL;
    }
    bool noted = nat_note(table, mapping, remote, false, packet->flags, now_us);
    return noted ? mapping : NULL;
}

bool nat_translate_in(struct nat_table *table, struct nat_packet *packet, uint64_t now_us)
{
    /* What is sent to the inside by its own address has no way in. */
    if (nat_destination(packet).address != table->address)
        return filtered(table);
    if (packet->sort == NAT_FRAGMENT)
        return translate_fragment(table, packet, false, now_us);
    if (packet->sort == NAT_ERROR)
        return translate_error_in(table, packet, now_us);
    if (packet->sort != NAT_TRANSPORT && packet->sort != NAT_ANSWER)
        return true; /* the Stack's: a ping of the NAT itself */
    struct first_fragment first = identity(packet);
    struct nat_mapping *mapping = admit(table, packet, nat_source(packet), now_us);
    if (mapping == NULL)
        return false;
    nat_set_destination(packet, mapping->inside);
    table->counts.incoming++;
    if (packet->has_more)
        remember_first(table, first, mapping->inside.address, now_us);
    return true;
}

/* --- from inside to inside ----------------------------------------------------------------- */

enum nat_turn nat_turn_around(struct nat_table *table, struct nat_packet *packet, uint64_t now_us)
{
    struct nat_end to = nat_destination(packet);
    if (!table->settings.hairpins || packet->sort != NAT_TRANSPORT || to.address != table->address)
        return NAT_GOES_ON;
    struct nat_mapping *target = nat_find_outside(table, packet->protocol, to.port, now_us);
    if (target == NULL || target->inside.address == table->address)
        return NAT_GOES_ON; /* to the NAT itself */
    struct nat_mapping *mapping = map_out(table, packet, to, now_us);
    if (mapping == NULL)
        return NAT_ENDS;
    const struct nat_end from = {table->address, mapping->outside_port};
    target = admit(table, packet, from, now_us);
    if (target == NULL)
        return NAT_ENDS;
    if (packet->has_more || !nat_take_hop(packet)) {
        untranslatable(table);
        return NAT_ENDS;
    }
    nat_set_source(packet, from);
    nat_set_destination(packet, target->inside);
    return NAT_TURNED;
}
