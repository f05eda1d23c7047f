/*
 * Whether an IPv4 address is one of the kernel's own, or of somebody behind it.
 */
#ifndef PYSTACK_HOST_HERE_H
#define PYSTACK_HOST_HERE_H

#include <stdbool.h>
#include <stdint.h>

#define HERE_KEPT 16

struct here {
    int fd; /* rtnetlink, of the namespace in which it was opened; -1: nothing is known */
    struct here_answer {
        uint8_t address[4];
        bool known, is_here;
        uint64_t asked_us;
    } answers[HERE_KEPT];
};

/* -errno, and `fd` is -1. */
int here_open(struct here *self);
void here_close(struct here *self);
/* The kernel is asked once a second at most for each address. */
bool here_is(struct here *self, const uint8_t address[4], uint64_t now_us);

#endif
