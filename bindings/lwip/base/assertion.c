/*
 * What becomes of an assertion that fails: the Stack ends, or, where a peer can bring it about, a
 * packet or a connection does.
 */
#include <stdio.h>

#include "base/counts.h"
#include "base/errors.h"
#include "base/port.h"
#include "lwip/arch.h"

/* The file without its folders. */
static const char *basename_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

_Noreturn void port_assertion_failed(const char *text, const char *file, int line)
{
    char message[256];
    snprintf(message, sizeof message, "%s (%s:%d)", text, basename_of(file), line);
    port.hypercalls.panic(port.hypercalls.user, message);
    __builtin_unreachable();
}

void port_input_check_failed(const char *text, const char *file, int line)
{
    uint64_t count = ++port_counts.assertions;
    /* The 1st, 2nd, 4th, 8th ...: a peer that does it all day must not fill the log. */
    if ((count & (count - 1)) == 0)
        port_log(PS_LOG_WARNING, "%s (%s:%d); %llu so far", text, basename_of(file), line,
                 (unsigned long long)count);
}
