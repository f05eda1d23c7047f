/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_CONSOLE_H
#define ANYK_CONSOLE_H

/* Sends the kernel's log, and the text of a panic, to the host. */
void anyk_console_init(void);

#endif
