/* Parsing requests and formatting answers. */
#include <stdio.h>

#include "stock.h"

void answer(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("ok ", stdout);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
}

void done(void)
{
    puts("ok");
}

void refuse(const char *name, const char *text)
{
    printf("err %s %s\n", name, text);
}

void refuse_lwip(err_t error)
{
    static const struct {
        err_t error;
        const char *name;
    } names[] = {
        {ERR_MEM, "ENOMEM"},        {ERR_BUF, "ENOBUFS"},       {ERR_TIMEOUT, "ETIMEDOUT"},
        {ERR_RTE, "EHOSTUNREACH"},  {ERR_INPROGRESS, "EAGAIN"}, {ERR_VAL, "EINVAL"},
        {ERR_WOULDBLOCK, "EAGAIN"}, {ERR_USE, "EADDRINUSE"},    {ERR_ALREADY, "EALREADY"},
        {ERR_ISCONN, "EISCONN"},    {ERR_CONN, "ENOTCONN"},     {ERR_IF, "ENETDOWN"},
        {ERR_ABRT, "ECONNABORTED"}, {ERR_RST, "ECONNRESET"},    {ERR_CLSD, "ENOTCONN"},
        {ERR_ARG, "EINVAL"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error) {
            refuse(names[i].name, "lwIP says so");
            return;
        }
    refuse("EIO", "an error that lwIP has no name for");
}

void settle(err_t error)
{
    if (error == ERR_OK)
        done();
    else
        refuse_lwip(error);
}

bool parse_address(const char *text, ip_addr_t *out)
{
    return ipaddr_aton(text, out) == 1;
}

size_t hex_to_bytes(const char *hex, unsigned char *out, size_t room)
{
    size_t size = 0;
    unsigned value;
    while (size < room && sscanf(hex + 2 * size, "%2x", &value) == 1)
        out[size++] = (unsigned char)value;
    return size;
}
