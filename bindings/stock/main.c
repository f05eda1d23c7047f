/*
 * Stock lwIP as a Host of the lab's: commands on standard input, frames on datagram descriptors.
 *
 *     stock WIRE_DESCRIPTOR...
 *
 * Its clock stands still but for the command `advance`, so that a run is repeatable.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lwip/init.h"
#include "stock.h"

static char **arguments;

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

static void serve(struct request *request)
{
    const char *verb = request->words[0];
    take_frames();
    if (strcmp(verb, "hello") == 0) {
        answer("1 virtual %d.%d.%d", LWIP_VERSION_MAJOR, LWIP_VERSION_MINOR, LWIP_VERSION_REVISION);
    } else if (strcmp(verb, "reset") == 0) {
        /* All of lwIP's state is in globals: the surest way to lose it is another image. */
        done();
        fflush(stdout);
        execv("/proc/self/exe", arguments);
        fprintf(stderr, "reset: %s\n", strerror(errno));
        exit(1);
    } else if (strcmp(verb, "quit") == 0) {
        done();
        fflush(stdout);
        exit(0);
    } else if (strcmp(verb, "advance") == 0 && request->count == 2) {
        advance_clock((uint64_t)(strtod(request->words[1], NULL) * 1000 + 0.5));
        answer("%u", next_timer());
    } else if (!socket_request(request) && !table_request(request)) {
        refuse("ENOSYS", verb);
    }
    /* What the request made lwIP send to itself. */
    take_frames();
    fflush(stdout);
}

int main(int count, char **words)
{
    static char line[LINE_SIZE];
    int descriptors[WIRES_MAXIMUM];
    arguments = words;
    if (count < 2 || count - 1 > WIRES_MAXIMUM) {
        fprintf(stderr, "usage: %s WIRE_DESCRIPTOR...\n", words[0]);
        return 2;
    }
    for (int i = 1; i < count; i++)
        descriptors[i - 1] = atoi(words[i]);
    start_stack(count - 1, descriptors);
    /* Unbuffered: after execv the next image has to find the requests that wait. */
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct request request = {0};
        char *place = NULL;
        for (char *word = strtok_r(line, " \n", &place);
             word != NULL && request.count < WORDS_MAXIMUM; word = strtok_r(NULL, " \n", &place))
            request.words[request.count++] = word;
        if (request.count > 0)
            serve(&request);
    }
    return 0;
}
