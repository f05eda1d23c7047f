/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_CONSOLE_H
#define ANYK_CONSOLE_H

/* Has the kernel's log, and its last words, go to the host. */
void anyk_console_init(void);

#endif
