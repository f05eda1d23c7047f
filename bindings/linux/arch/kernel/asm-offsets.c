// SPDX-License-Identifier: GPL-2.0
/* Kbuild wants this file; switch.S knows all it needs. */
#define COMPILE_OFFSETS
#include <linux/kbuild.h>

int main(void)
{
    return 0;
}
