/* The parts of the agent that puts stock lwIP on a wire: see pystack/lab/agent/PROTOCOL.md. */
#ifndef STOCK_H
#define STOCK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "lwip/ip_addr.h"
#include "lwip/netif.h"

#define WORDS_MAXIMUM 12
#define WIRES_MAXIMUM 2
#define LINE_SIZE 140000 /* 64 KiB in hex, and the words around it */

/* One request, cut into words. */
struct request {
    int count;
    char *words[WORDS_MAXIMUM];
};

/* answers.c. Each request gets exactly one of them. */
void done(void);
void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));
void refuse(const char *name, const char *text);
/* The same for what lwIP's functions return. */
void refuse_lwip(err_t error);
/* "ok" if it is ERR_OK. */
void settle(err_t error);

extern struct netif wires[WIRES_MAXIMUM];
extern int wire_count;

/* Reads whatever waits on the wires, and does what is due at once. */
void take_frames(void);
void advance_clock(uint64_t microseconds);
/* Milliseconds until the next timer. */
unsigned next_timer(void);
void start_stack(int count, const int *descriptors);

/* Each looks at a request; false: it is not one of theirs. */
bool socket_request(const struct request *request);
bool table_request(const struct request *request);

bool parse_address(const char *text, ip_addr_t *out);
size_t hex_to_bytes(const char *hex, unsigned char *out, size_t room);

#endif
