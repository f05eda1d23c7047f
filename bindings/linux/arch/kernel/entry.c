// SPDX-License-Identifier: GPL-2.0
/* The host's entries into the kernel: the boot, then each call. */
#include <linux/errno.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/start_kernel.h>
#include <linux/string.h>
#include <asm/setup.h>
#include "border.h"
#include "clock.h"
#include "loop.h"

static void boot(void)
{
    start_kernel();
}

void anyk_enter(unsigned long long now_ns)
{
    anyk_clock_set(now_ns);
    anyk_resume();
}

int anyk_boot(const struct anyk_host *host, void *ram, unsigned long size,
              unsigned long long now_ns, const char *command_line)
{
    anyk_host = host;
    anyk_ram = (unsigned long)ram;
    anyk_ram_size = size;
    anyk_clock_begin(now_ns);
    strscpy(boot_command_line, command_line, COMMAND_LINE_SIZE);
    anyk_begin_kernel(task_stack_page(&init_task) + THREAD_SIZE, boot);
    anyk_to_kernel();
    if (!anyk_ready_for_calls())
        return -EIO;
    anyk_enter(now_ns);
    return 0;
}

unsigned long long anyk_leave(void)
{
    return anyk_rest();
}

void anyk_run(void)
{
    anyk_interrupt(NULL, NULL);
}
