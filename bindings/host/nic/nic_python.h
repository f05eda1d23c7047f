/*
 * NICs that call Python: their far end, or what changes their frames.
 */
#ifndef PYSTACK_HOST_NIC_PYTHON_H
#define PYSTACK_HOST_NIC_PYTHON_H

#include "nic/nic.h"

/* How many there are that call Python (nic_python.c). */
int python_nics(void);
/* One more, or with -1 one less. */
void python_nics_add(int change);
/* How many there are whose frames a program carries (nic_carried.c). */
int carried_nics(void);

#endif
