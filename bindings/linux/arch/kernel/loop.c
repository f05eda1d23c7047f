// SPDX-License-Identifier: GPL-2.0
/*
 * Process 1 never leaves the last of the initcalls: it goes to the host there, and comes back with
 * a request. The idle task goes to the host as well, when process 1 waits for the next one and
 * nothing else can run.
 */
#include <linux/async.h>
#include <linux/cpu.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/resume_user_mode.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/tick.h>
#include <asm/irq_regs.h>
#include "border.h"
#include "clock.h"
#include "limits.h"
#include "loop.h"
#include "scheduler.h"
#include "timers.h"

/* As many descriptors as handles of the engine's can have. */
#define MOST_FILES (1 << 20)

enum place { IN_PROCESS, IN_INTERRUPT, REST };
static struct {
    enum place place;
    void (*fn)(void *);
    void *argument;
} request;

unsigned long anyk_irqs_enabled;
static struct task_struct *process_1;
static bool resting, idle_at_host;
static u64 deadline; /* on the host's clock, after a rest */
static struct pt_regs no_registers;

static void take_interrupt(void (*fn)(void *), void *argument)
{
    struct pt_regs *old;
    unsigned long flags;

    local_irq_save(flags);
    old = set_irq_regs(&no_registers);
    irq_enter();
    anyk_clock_interrupt();
    if (fn)
        fn(argument);
    irq_exit();
    set_irq_regs(old);
    local_irq_restore(flags);
}

static void wake_process_1(void *unused)
{
    wake_up_process(process_1);
}

/* The idle task, interrupts off. */
void arch_cpu_idle(void)
{
    if (!resting) {
        /* A call waits for time to pass, and nothing else can advance it. */
        if (!anyk_clock_jump())
            panic("a call waits, and nothing will ever end that");
        take_interrupt(NULL, NULL);
        return;
    }
    /* The idle loop waits for the first tick, for the sake of short sleeps. Ours have no such need:
     * the next deadline has to be the next timer's. */
    tick_nohz_idle_stop_tick();
    deadline = anyk_clock_deadline();
    idle_at_host = true;
    anyk_to_host();
    idle_at_host = false;
    resting = false;
    take_interrupt(wake_process_1, NULL);
}

/* Work a system call does on its way back to user space, which we lack: closing files. */
static void finish_call(void)
{
    if (test_thread_flag(TIF_NOTIFY_RESUME) || test_thread_flag(TIF_NOTIFY_SIGNAL)) {
        clear_thread_flag(TIF_NOTIFY_SIGNAL);
        resume_user_mode_work(NULL);
    }
}

/* Whether only process 1 is runnable. Reports a quiescent state to RCU, as going to sleep would, so
 * that its callbacks run. */
static bool alone(void)
{
    local_bh_disable();
    rcu_qs();
    local_bh_enable();
    return single_task_running() && !need_resched();
}

static void rest(void)
{
    if (alone()) {
        /* There is nothing to yield to. */
        deadline = anyk_clock_after(anyk_next_timer());
        return;
    }
    set_current_state(TASK_IDLE);
    resting = true;
    schedule();
}

static void __noreturn take_requests(void)
{
    for (;;) {
        anyk_to_host();
        switch (request.place) {
        case IN_PROCESS:
            request.fn(request.argument);
            finish_call();
            break;
        case IN_INTERRUPT:
            take_interrupt(request.fn, request.argument);
            break;
        case REST:
            rest();
            break;
        }
    }
}

static int __init take_over(void)
{
    async_synchronize_full();
    system_state = SYSTEM_RUNNING;
    rcu_end_inkernel_boot();
    oom_killer_disable(HZ); /* it would kill process 1: an allocation fails instead */
    anyk_quiet_scheduler();
    anyk_set_limits();
    process_1 = current;
    current->signal->rlim[RLIMIT_NOFILE].rlim_cur = MOST_FILES;
    current->signal->rlim[RLIMIT_NOFILE].rlim_max = MOST_FILES;
    take_requests();
}
late_initcall_sync(take_over);

bool anyk_ready_for_calls(void)
{
    return process_1;
}

static void ask(enum place place, void (*fn)(void *), void *argument)
{
    request.place = place;
    request.fn = fn;
    request.argument = argument;
    anyk_to_kernel();
}

void anyk_call(void (*fn)(void *), void *argument)
{
    ask(IN_PROCESS, fn, argument);
}

void anyk_interrupt(void (*fn)(void *), void *argument)
{
    ask(IN_INTERRUPT, fn, argument);
}

u64 anyk_rest(void)
{
    ask(REST, NULL, NULL);
    return deadline;
}

void anyk_resume(void)
{
    if (idle_at_host)
        anyk_to_kernel();
    else if (anyk_clock_is_due())
        anyk_interrupt(NULL, NULL); /* the tick at least, so that jiffies is right */
}
