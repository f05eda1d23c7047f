// SPDX-License-Identifier: GPL-2.0
/* Tasks: stacks in one thread of the host, switched where the kernel says so. */
#include <linux/processor.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <asm/switch_to.h>
#include "switch.h"

struct task_struct *anyk_current = &init_task;
static struct task_struct *switched_from;

/* kernel/sched/core.c has it for the assembler of the architectures, without a header. */
extern asmlinkage void schedule_tail(struct task_struct *previous);

struct task_struct *anyk_switch(struct task_struct *previous, struct task_struct *next)
{
    switched_from = previous;
    anyk_current = next;
    anyk_swap(&previous->thread.sp, next->thread.sp);
    return switched_from;
}

static void begin_thread(void)
{
    schedule_tail(switched_from);
    current->thread.fn(current->thread.argument);
    panic("a kernel thread returned");
}

int copy_thread(struct task_struct *task, const struct kernel_clone_args *args)
{
    if (!args->fn)
        return -ENOSYS; /* there is no user space to make a process for */
    task->thread.fn = args->fn;
    task->thread.argument = args->fn_arg;
    task->thread.sp = anyk_fresh_stack(task_stack_page(task) + THREAD_SIZE, begin_thread);
    return 0;
}
