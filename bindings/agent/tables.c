/* The tables of the reference agent in C: what iproute2's `ip` does and shows, and /proc/sys. */
#define _GNU_SOURCE
#include "agent.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char *interface[PORTS];
int interfaces;

/* Runs `ip` with words that end with NULL; what it prints is in `data`. 0 or a negative errno. */
static int ip(const char *first, ...)
{
    const char *arguments[WORDS + 2] = {"ip", first};
    int ends[2], status, count = 2;
    ssize_t got, size = 0;
    va_list list;
    va_start(list, first);
    while ((arguments[count] = va_arg(list, const char *)) != NULL && count < WORDS)
        count++;
    va_end(list);
    if (pipe(ends) != 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execvp("ip", (char **)arguments);
        _exit(127);
    }
    close(ends[1]);
    while (size < BYTES - 1 && (got = read(ends[0], data + size, BYTES - 1 - size)) > 0)
        size += got;
    data[size] = '\0';
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    for (const struct error *one = ERRORS; one->name; one++)
        if (strstr((char *)data, strerror(one->code)))
            return -one->code;
    return -EINVAL;
}

/* The word after `key` in a row of `ip`'s. */
static const char *after(char *row[], const char *key)
{
    for (; *row; row++)
        if (strcmp(*row, key) == 0)
            return row[1] ? row[1] : "";
    return NULL;
}

/* Goes through what `ip` printed. */
static void say_rows(const char *table, bool six)
{
    char *rest = (char *)data, *text;
    while ((text = strsep(&rest, "\n")) != NULL) {
        char *row[40] = {NULL}, *one, *last = "";
        for (int n = 0; n < 39 && (one = strsep(&text, " \t")) != NULL;)
            if (*one)
                last = row[n++] = one;
        if (row[0] == NULL)
            continue;
        const char *mac = after(row, "lladdr"), *gateway = after(row, "via");
        const char *own = after(row, "inet") ? after(row, "inet") : after(row, "inet6");
        if (strcmp(table, "address") == 0 && own && !after(row, "tentative"))
            say(" %s", own);
        for (char *c = last; strcmp(table, "neighbour") == 0 && *c; c++)
            *c = (char)tolower(*c);
        if (strcmp(table, "neighbour") == 0 && strcmp(last, "noarp") != 0)
            say(" %s,%s,%s", row[0], mac ? mac : "-", last);
        if (strcmp(table, "route") == 0 && strcmp(row[0], "default") == 0)
            say(" %s,%s", six ? "::/0" : "0.0.0.0/0", gateway ? gateway : "-");
        else if (strcmp(table, "route") == 0 && (isdigit(*row[0]) || strchr(row[0], ':')))
            say(" %s%s,%s", row[0],
                strchr(row[0], '/') ? ""
                : six               ? "/128"
                                    : "/32",
                gateway ? gateway : "-");
    }
}

static const char *device(int at)
{
    int port = at < words ? atoi(word[at]) : 0;
    return port >= 0 && port < interfaces ? interface[port] : "none";
}

int do_interface(void)
{
    if (is(2, "up") || is(2, "down"))
        return ip("link", "set", device(1), word[2], NULL);
    if (words == 4 && (is(2, "mtu") || is(2, "mac")))
        return ip("link", "set", device(1), is(2, "mtu") ? "mtu" : "address", word[3], NULL);
    int status = ip("-br", "link", "show", device(1), NULL);
    char mac[18] = "", name[32] = "";
    if (status == 0 && sscanf((char *)data, "%31[^@ ]%*s %*s %17s", name, mac) >= 1)
        say(" %s %s", device(1), mac);
    return status;
}

int do_address(void)
{
    if (is(1, "add") && words == 4)
        return ip("addr", "add", word[3], "dev", device(2), "nodad", NULL);
    if (is(1, "delete") && words == 4)
        return ip("addr", "del", word[3], "dev", device(2), NULL);
    if (!is(1, "list"))
        return -ENOSYS; /* detection */
    int status = ip("-o", "addr", "show", "dev", device(2), NULL);
    if (status == 0)
        say_rows("address", false);
    return status;
}

int do_neighbour(void)
{
    if (is(1, "add") && words == 5)
        return ip("neigh", "replace", word[3], "lladdr", word[4], "nud", "permanent", "dev",
                  device(2), NULL);
    if (is(1, "delete") && words == 4)
        return ip("neigh", "del", word[3], "dev", device(2), NULL);
    if (is(1, "flush"))
        return ip("neigh", "flush", "all", "nud", "all", NULL);
    int status = is(1, "list") ? ip("neigh", "show", NULL) : -EINVAL;
    if (status == 0)
        say_rows("neighbour", false);
    return status;
}

int do_route(void)
{
    if ((is(1, "add") || is(1, "delete")) && words >= 3) {
        const char *what = is(1, "add") ? "add" : "del";
        if (words > 3 && !is(3, "-"))
            return ip("route", what, word[2], "via", word[3], NULL);
        return words > 4 ? ip("route", what, word[2], "dev", device(4), NULL)
                         : ip("route", what, word[2], NULL);
    }
    for (int six = 0; six < 2 && is(1, "list"); six++) {
        int status = ip(six ? "-6" : "-4", "route", "show", NULL);
        if (status != 0)
            return status;
        say_rows("route", six);
    }
    return is(1, "list") ? 0 : -EINVAL;
}

/* Reads a tunable into `value`, or first writes one that is given. */
static int tunable(const char *name, const char *given, char *value, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "/proc/sys/%s", name);
    int file = open(path, given ? O_RDWR : O_RDONLY);
    if (file < 0)
        return -errno;
    ssize_t got = given ? write(file, given, strlen(given)) : 0;
    got = got < 0 ? got : pread(file, value, size - 1, 0);
    int code = errno;
    close(file);
    while (got > 0 && isspace((unsigned char)value[got - 1]))
        got--;
    value[got > 0 ? got : 0] = '\0';
    return got < 0 ? -code : 0;
}

static void exchange(char *text, const char *from, char to)
{
    while (*(text += strcspn(text, from)))
        *text++ = to;
}

/* As "net.ipv4.ip_forward"; what has several values has commas between them. What is set for all
 * interfaces is set for each. */
int do_sysctl(void)
{
    static const char *const EVERY[] = {"/conf/all/", "/neigh/default/"};
    char name[256], value[256];
    if (words < 2 || strchr(word[1], '/') || strlen(word[1]) > 150)
        return -EINVAL;
    exchange(word[1], ".", '/');
    if (words > 2)
        exchange(word[2], ",", ' ');
    const char *given = words < 3 ? NULL : is(2, "-") ? "\n" : word[2];
    int status = tunable(word[1], given, value, sizeof value);
    for (int n = 0; n < 2 && given; n++) {
        const char *at = strstr(word[1], EVERY[n]);
        int kept = at ? (int)(strchr(at + 1, '/') - word[1]) : 0;
        for (int port = 0; at && port < interfaces; port++) {
            char own[256];
            snprintf(name, sizeof name, "%.*s/%s/%s", kept, word[1], interface[port],
                     at + strlen(EVERY[n]));
            tunable(name, given, own, sizeof own);
        }
    }
    exchange(value, " \t", ',');
    if (status == 0)
        say(" %s", *value ? value : "-");
    return status;
}

void reset_tables(void)
{
    for (int port = 0; port < interfaces; port++) {
        ip("link", "set", interface[port], "down", NULL); /* takes routes and neighbours along */
        ip("addr", "flush", "dev", interface[port], NULL);
    }
}
