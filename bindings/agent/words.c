/* The words of the lab's line protocol: numbers, bytes, addresses, errors. */
#include "agent.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

char *word[WORDS + 1], answer[LINE];
unsigned char data[BYTES];
int words;

// clang-format off
#define ROW(name) {name, #name}
const struct error ERRORS[] = {
    ROW(EACCES), ROW(EADDRINUSE), ROW(EADDRNOTAVAIL), ROW(EAFNOSUPPORT), ROW(EAGAIN),
    ROW(EALREADY), ROW(EBADF), ROW(ECONNABORTED), ROW(ECONNREFUSED), ROW(ECONNRESET),
    ROW(EDESTADDRREQ), ROW(EEXIST), ROW(EHOSTUNREACH), ROW(EINPROGRESS), ROW(EINVAL),
    ROW(EISCONN), ROW(EMSGSIZE), ROW(ENETUNREACH), ROW(ENOBUFS), ROW(ENODEV),
    ROW(ENOENT), ROW(ENOMEM), ROW(ENOPROTOOPT), ROW(ENOSYS), ROW(ENOTCONN),
    ROW(EOPNOTSUPP), ROW(EPERM), ROW(EPIPE), ROW(EPROTONOSUPPORT), ROW(ESRCH),
    ROW(ETIMEDOUT), ROW(EHOSTDOWN), ROW(EPROTO), ROW(ENXIO), ROW(ENETDOWN),
    {0, NULL},
};
// clang-format on

void say(const char *format, ...)
{
    size_t used = strlen(answer);
    va_list list;
    va_start(list, format);
    vsnprintf(answer + used, LINE - used, format, list);
    va_end(list);
}

bool is(int at, const char *text)
{
    return at < words && strcmp(word[at], text) == 0;
}

const char *name_of(int code)
{
    for (const struct error *one = ERRORS; one->name; one++)
        if (one->code == code)
            return one->name;
    return "EIO";
}

/* "-" is no byte. Gives how many, or -1. */
int from_hex(const char *text)
{
    int size = 0;
    if (strcmp(text, "-") == 0)
        return 0;
    for (; text[0] && text[1] && size < BYTES; text += 2)
        if (sscanf(text, "%2hhx", &data[size++]) != 1)
            return -1;
    return text[0] ? -1 : size;
}

void say_hex(ssize_t size)
{
    char *at = answer + strlen(answer);
    strcpy(at, size > 0 ? " " : " -");
    for (ssize_t i = 0; i < size; i++)
        sprintf(at + 1 + 2 * i, "%02x", data[i]);
}

socklen_t address_of(int at, struct sockaddr_storage *found)
{
    struct sockaddr_in6 *six = (void *)found;
    struct sockaddr_in *four = (void *)found;
    in_port_t port = htons(at + 1 < words ? atoi(word[at + 1]) : 0);
    memset(found, 0, sizeof *found);
    if (at < words && inet_pton(AF_INET6, word[at], &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = port;
        six->sin6_scope_id = at + 3 < words ? atoi(word[at + 3]) : 0;
        return sizeof *six;
    }
    if (at < words && inet_pton(AF_INET, word[at], &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = port;
        return sizeof *four;
    }
    return 0;
}

void say_address(const struct sockaddr_storage *given)
{
    const struct sockaddr_in6 *six = (const void *)given;
    const struct sockaddr_in *four = (const void *)given;
    char text[INET6_ADDRSTRLEN];
    if (given->ss_family == AF_INET)
        say(" %s %d", inet_ntop(AF_INET, &four->sin_addr, text, sizeof text),
            ntohs(four->sin_port));
    else if (given->ss_family == AF_INET6)
        say(" %s %d 0 %u", inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text),
            ntohs(six->sin6_port), six->sin6_scope_id);
}
