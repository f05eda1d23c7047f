// SPDX-License-Identifier: GPL-2.0
/* What the kernel expects of an architecture and a library lacks: interrupt lines, a CPU to
 * describe, processes to trace. */
#include <linux/interrupt.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/seq_file.h>
#include <linux/start_kernel.h>
#include <linux/cpu.h>
#include <linux/init.h>
#include <linux/irq.h>

void __init init_IRQ(void)
{
}

void __init trap_init(void)
{
}

int show_interrupts(struct seq_file *file, void *line)
{
    return 0;
}

static void *no_cpu(struct seq_file *file, loff_t *position)
{
    return NULL;
}

static void *no_next_cpu(struct seq_file *file, void *cpu, loff_t *position)
{
    return NULL;
}

static void stop_cpus(struct seq_file *file, void *cpu)
{
}

static int show_cpu(struct seq_file *file, void *cpu)
{
    return 0;
}

const struct seq_operations cpuinfo_op = {
    .start = no_cpu,
    .next = no_next_cpu,
    .stop = stop_cpus,
    .show = show_cpu,
};

void show_regs(struct pt_regs *registers)
{
}

void show_stack(struct task_struct *task, unsigned long *sp, const char *level)
{
}

void flush_thread(void)
{
}

unsigned long __get_wchan(struct task_struct *task)
{
    return 0;
}

void ptrace_disable(struct task_struct *child)
{
}

long arch_ptrace(struct task_struct *child, long request, unsigned long address, unsigned long data)
{
    return -EIO;
}

void user_enable_single_step(struct task_struct *child)
{
}

void user_disable_single_step(struct task_struct *child)
{
}
