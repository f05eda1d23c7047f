/*
 * lwIP's error codes as errno, and lines for the log.
 */
#ifndef PYSTACK_LWIP_ERRORS_H
#define PYSTACK_LWIP_ERRORS_H

#include "engine.h"
#include "lwip/err.h"

/* lwIP's err_t as a negative errno (0 for ERR_OK). */
int port_errno(err_t error);
void port_log(enum ps_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
