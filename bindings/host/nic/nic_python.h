/*
 * NICs whose far end is Python.
 */
#ifndef PYSTACK_HOST_NIC_PYTHON_H
#define PYSTACK_HOST_NIC_PYTHON_H

#include "nic/nic.h"

/* How many there are whose far end is Python (nic_python.c). */
int python_nics(void);
/* How many there are whose frames a program carries (nic_carried.c). */
int carried_nics(void);

#endif
