/*
 * Socket options that are a field and no more: a row in a table makes one that is set and read.
 */
#ifndef PYSTACK_LWIP_OPTION_FIELD_H
#define PYSTACK_LWIP_OPTION_FIELD_H

#include <stddef.h>

#include "engine.h"

struct option_field {
    enum ps_option option;
    uint16_t offset;
    uint8_t size; /* 1, 2 or 4 bytes */
    bool is_flag; /* whatever is not 0 is 1; else a number within these bounds: -EINVAL */
    int64_t least, most;
};

#define OPTION_FLAG(option, type, field) \
    { \
        option, offsetof(type, field), sizeof(((type *)0)->field), true, INT64_MIN, INT64_MAX \
    }
#define OPTION_NUMBER(option, type, field, least, most) \
    { \
        option, offsetof(type, field), sizeof(((type *)0)->field), false, least, most \
    }

/* -ENOPROTOOPT: it is not in the table, which ends with a size of 0. */
int option_field_get(const struct option_field *table, const void *socket, enum ps_option option,
                     int64_t *value);
int option_field_set(const struct option_field *table, void *socket, enum ps_option option,
                     int64_t value);

#endif
