/* What the two halves of the reference agent in C share: a request's words, and its answer. */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { WORDS = 16, BYTES = 1 << 17, LINE = 2 * BYTES + 512, PORTS = 4 };

/* words.c: the request's, and the answer to it. */
extern char *word[WORDS + 1], answer[LINE];
extern unsigned char data[BYTES]; /* a message, or what a program printed */
extern int words;
/* tables.c: the lab's ports. */
extern char *interface[PORTS];
extern int interfaces;

struct error {
    int code;
    const char *name;
};
extern const struct error ERRORS[]; /* the last one's name is NULL */

bool is(int at, const char *text); /* whether there is such a word */
void say(const char *format, ...); /* adds to the answer */
void say_hex(ssize_t size);        /* what is in `data` */
void say_address(const struct sockaddr_storage *given);
int from_hex(const char *text); /* into `data`; how many bytes, or -1; "-" is none */
socklen_t address_of(int at, struct sockaddr_storage *found); /* 0: it is none */
const char *name_of(int code);

void reset_tables(void);

/* Verbs: 0 or a negative errno. */
int do_interface(void);
int do_address(void);
int do_neighbour(void);
int do_route(void);
int do_sysctl(void);

#endif
