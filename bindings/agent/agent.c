/* A reference agent in C: the sockets of the POSIX system that it runs on, over the lab's line
 * protocol (pystack/lab/agent/PROTOCOL.md). What is about tables is in
 * tables.c, and the words of a line are in words.c.
 *
 *     cc -std=c11 -o agent agent.c tables.c words.c
 *     ./agent INTERFACE[,INTERFACE] unix:PATH | PORT
 *
 * It listens there (a port: on 127.0.0.1) and serves one lab after the other. */
#define _GNU_SOURCE
#include "agent.h"
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { HANDLES = 1024 };

static char line[LINE];
static bool open_handle[HANDLES];

static void close_all(void)
{
    struct linger hard = {1, 0};
    for (int handle = 0; handle < HANDLES; handle++) {
        if (!open_handle[handle])
            continue;
        setsockopt(handle, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); /* by a reset */
        close(handle);
        open_handle[handle] = false;
    }
}

static int do_hello(void)
{
    struct utsname system;
    uname(&system);
    say(" 1 real %s %s", system.sysname, system.release);
    return 0;
}

static int do_reset(void)
{
    close_all();
    reset_tables();
    return 0;
}

static int do_ping(void)
{
    struct sockaddr_storage where;
    socklen_t length = address_of(1, &where);
    bool six = where.ss_family == AF_INET6;
    int size = 8 + (words > 2 ? atoi(word[2]) : 56);
    if (length == 0 || size < 8 || size >= BYTES)
        return -EINVAL;
    ((struct sockaddr_in *)&where)->sin_port = 0; /* the word after the address is a size */
    memset(data, 0, size + 1);
    memcpy(data, six ? "\x80\0\0\0\x50\x53\0\1" : "\x08\0\0\0\x50\x53\0\1", 8);
    unsigned sum = 0;
    for (int i = 0; i < size; i += 2)
        sum += data[i] << 8 | data[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~(sum + (sum >> 16));
    if (!six) { /* ICMPv6's, which covers the addresses, is the kernel's work */
        data[2] = (unsigned char)(sum >> 8);
        data[3] = (unsigned char)sum;
    }
    int sender = socket(where.ss_family, SOCK_RAW | SOCK_NONBLOCK,
                        six ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);
    if (sender < 0)
        return -errno;
    int code = sendto(sender, data, size, 0, (void *)&where, length) < 0 ? -errno : 0;
    close(sender);
    return code;
}

static int keep(int handle)
{
    if (handle < 0)
        return -errno;
    if (handle >= HANDLES) {
        close(handle);
        return -ENOBUFS;
    }
    open_handle[handle] = true;
    say(" %d", handle);
    return 0;
}

static int do_socket(void)
{
    int kind = is(2, "stream") ? SOCK_STREAM : is(2, "dgram") ? SOCK_DGRAM : SOCK_RAW;
    return keep(socket(is(1, "inet6") ? AF_INET6 : AF_INET, kind | SOCK_NONBLOCK,
                       words > 3 ? atoi(word[3]) : 0));
}

static int do_poll(int handle)
{
    struct pollfd one = {handle, POLLIN | POLLOUT, 0};
    if (poll(&one, 1, 0) < 0)
        return -errno;
    say("%s%s%s%s", one.revents & POLLIN ? " in" : "", one.revents & POLLOUT ? " out" : "",
        one.revents & POLLERR ? " err" : "", one.revents & POLLHUP ? " hup" : "");
    return 0;
}

static int do_option(int handle, bool set)
{
    int level = words > 3 ? atoi(word[2]) : 0, name = words > 3 ? atoi(word[3]) : 0, value = 0;
    socklen_t size = sizeof value;
    if (words < (set ? 5 : 4))
        return -EINVAL;
    if (set && *word[4] == 'x') {
        int bytes = from_hex(word[4] + 1);
        return bytes < 0 ? -EINVAL : setsockopt(handle, level, name, data, bytes) ? -errno : 0;
    }
    value = set ? atoi(word[4]) : 0;
    if (set)
        return setsockopt(handle, level, name, &value, sizeof value) ? -errno : 0;
    if (getsockopt(handle, level, name, &value, &size) != 0)
        return -errno;
    say(" %d", size == 1 ? *(unsigned char *)&value : value);
    return 0;
}

/* The verbs whose first word is a handle. */
static int on_socket(const char *verb, int handle)
{
    struct sockaddr_storage where = {0};
    socklen_t length = sizeof where;
    int size = words > 2 ? atoi(word[2]) : 0;
    ssize_t done = 0;
    if (strcmp(verb, "bind") == 0)
        done = bind(handle, (void *)&where, address_of(2, &where));
    else if (strcmp(verb, "connect") == 0)
        done = connect(handle, (void *)&where, address_of(2, &where));
    else if (strcmp(verb, "listen") == 0)
        done = listen(handle, size);
    else if (strcmp(verb, "shutdown") == 0)
        done = shutdown(handle, is(2, "rd") ? SHUT_RD : is(2, "wr") ? SHUT_WR : SHUT_RDWR);
    else if (strcmp(verb, "close") == 0) {
        open_handle[handle] = false;
        done = close(handle);
    } else if (strcmp(verb, "accept") == 0) {
        int made = accept4(handle, (void *)&where, &length, SOCK_NONBLOCK);
        int status = keep(made);
        if (status == 0)
            say_address(&where);
        return status;
    } else if (strcmp(verb, "send") == 0 || strcmp(verb, "sendto") == 0) {
        bool to = strcmp(verb, "sendto") == 0;
        int bytes = words > 2 ? from_hex(word[2]) : -1,
            flags = !to && words > 3 ? atoi(word[3]) : 0;
        length = to ? address_of(3, &where) : 0;
        if (bytes < 0)
            return -EINVAL;
        done = sendto(handle, data, bytes, flags | MSG_NOSIGNAL, length ? (void *)&where : NULL,
                      length);
        if (done >= 0)
            say(" %zd", done);
    } else if (strcmp(verb, "recv") == 0 || strcmp(verb, "recvfrom") == 0) {
        if (size < 0)
            return -EINVAL;
        done = recvfrom(handle, data, size < BYTES ? size : BYTES, words > 3 ? atoi(word[3]) : 0,
                        (void *)&where, &length);
        if (done >= 0)
            say_hex(done);
        if (done >= 0 && strcmp(verb, "recvfrom") == 0 && length > 0)
            say_address(&where);
    } else if (strcmp(verb, "getsockname") == 0 || strcmp(verb, "getpeername") == 0) {
        done = verb[3] == 's' ? getsockname(handle, (void *)&where, &length)
                              : getpeername(handle, (void *)&where, &length);
        if (done == 0)
            say_address(&where);
    } else if (strcmp(verb, "poll") == 0)
        return do_poll(handle);
    else if (strcmp(verb, "getsockopt") == 0 || strcmp(verb, "setsockopt") == 0)
        return do_option(handle, verb[0] == 's');
    else if (strcmp(verb, "nonblock") != 0) /* they are from the beginning */
        return -ENOSYS;
    return done < 0 ? -errno : 0;
}

static int carry_out(void)
{
    static const struct {
        const char *verb;
        int (*call)(void);
    } VERBS[] = {{"hello", do_hello},     {"reset", do_reset},   {"socket", do_socket},
                 {"ping", do_ping},       {"sysctl", do_sysctl}, {"interface", do_interface},
                 {"address", do_address}, {"route", do_route},   {"neighbour", do_neighbour}};
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++)
        if (is(0, VERBS[i].verb))
            return VERBS[i].call();
    if (words == 0 || is(0, "quit"))
        return words == 0 ? -EINVAL : 0;
    if (words < 2 || !isdigit((unsigned char)*word[1]))
        return -ENOSYS;
    int handle = atoi(word[1]);
    return handle < HANDLES && open_handle[handle] ? on_socket(word[0], handle) : -EBADF;
}

static void serve(int stream)
{
    FILE *in = fdopen(stream, "r"), *out = fdopen(dup(stream), "w");
    while (in && out && fgets(line, LINE, in)) {
        char *rest = line;
        line[strcspn(line, "\r\n")] = '\0';
        for (words = 0; words < WORDS && (word[words] = strsep(&rest, " ")) != NULL;)
            words += *word[words] != '\0';
        strcpy(answer, "ok");
        bool last = is(0, "quit");
        int status = carry_out();
        if (status < 0)
            sprintf(answer, "err %s %s", name_of(-status), strerror(-status));
        fprintf(out, "%s\n", answer);
        if (fflush(out) != 0 || last)
            break;
    }
    close_all();
    if (in)
        fclose(in);
    if (out)
        fclose(out);
}

int main(int count, char *arguments[])
{
    if (count != 3) {
        fprintf(stderr, "usage: agent INTERFACE[,INTERFACE] unix:PATH | PORT\n");
        return 2;
    }
    char *rest = arguments[1];
    while (interfaces < PORTS && (interface[interfaces] = strsep(&rest, ",")) != NULL)
        interfaces++;
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    bool local = strncmp(arguments[2], "unix:", 5) == 0;
    port.sin_port = htons(local ? 0 : atoi(arguments[2]));
    snprintf(path.sun_path, sizeof path.sun_path, "%s", arguments[2] + (local ? 5 : 0));
    int listener = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, local ? (void *)&path : (void *)&port, local ? sizeof path : sizeof port) ||
        listen(listener, 1)) {
        perror(arguments[2]);
        return 1;
    }
    for (int stream; (stream = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        serve(stream);
    return 1;
}
