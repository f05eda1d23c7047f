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
