/*
 * What engine.c starts and ends.
 */
#ifndef PYSTACK_LWIP_TABLES_H
#define PYSTACK_LWIP_TABLES_H

void interfaces_init(void);
void interfaces_close_all(void);
void sysctl_init(void);

#endif
