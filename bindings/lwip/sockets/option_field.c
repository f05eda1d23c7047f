/*
 * See option_field.h.
 */
#include "sockets/option_field.h"

#include <errno.h>

static const struct option_field *find(const struct option_field *table, enum ps_option option)
{
    while (table->size != 0 && table->option != option)
        table++;
    return table->size != 0 ? table : NULL;
}

int option_field_get(const struct option_field *table, const void *socket, enum ps_option option,
                     int64_t *value)
{
    const struct option_field *field = find(table, option);
    if (field == NULL)
        return -ENOPROTOOPT;
    const void *place = (const char *)socket + field->offset;
    bool is_signed = !field->is_flag && field->least < 0;
    switch (field->size) {
    case 1:
        *value = is_signed ? *(const int8_t *)place : *(const uint8_t *)place;
        break;
    case 2:
        *value = is_signed ? *(const int16_t *)place : *(const uint16_t *)place;
        break;
    default:
        *value = is_signed ? *(const int32_t *)place : (int64_t) * (const uint32_t *)place;
    }
    return 0;
}

int option_field_set(const struct option_field *table, void *socket, enum ps_option option,
                     int64_t value)
{
    const struct option_field *field = find(table, option);
    if (field == NULL)
        return -ENOPROTOOPT;
    if (value < field->least || value > field->most)
        return -EINVAL;
    if (field->is_flag)
        value = value != 0;
    void *place = (char *)socket + field->offset;
    if (field->size == 1)
        *(uint8_t *)place = (uint8_t)value;
    else if (field->size == 2)
        *(uint16_t *)place = (uint16_t)value;
    else
        *(uint32_t *)place = (uint32_t)value;
    return 0;
}
