/*
 * NICs whose far end is Python.
 */
#ifndef PYSTACK_HOST_NIC_PYTHON_H
#define PYSTACK_HOST_NIC_PYTHON_H

#include "nic/nic.h"

/* How many there are whose far end is Python (nic_python.c). */
int python_nics(void);
void python_nics_add(int change);

#endif
