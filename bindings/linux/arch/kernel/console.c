// SPDX-License-Identifier: GPL-2.0
/* The kernel's log, and its panic. */
#include <linux/console.h>
#include <linux/init.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/printk.h>
#include <linux/reboot.h>
#include "border.h"
#include "console.h"
#include "loop.h"

struct line {
    const char *text;
    unsigned long size;
};

static void log_line(void *argument)
{
    struct line *line = argument;

    anyk_host->log(anyk_host->user, LOGLEVEL_INFO, line->text, line->size);
}

static void write_console(struct console *console, const char *text, unsigned count)
{
    struct line line = {text, count};

    anyk_on_host_stack(log_line, &line);
}

static struct console console = {
    .name = "anyk",
    .write = write_console,
    .flags = CON_PRINTBUFFER | CON_ENABLED | CON_ANYTIME,
    .index = -1,
};

static void give_up(void *text)
{
    anyk_host->panic(anyk_host->user, text);
}

static int on_panic(struct notifier_block *block, unsigned long event, void *text)
{
    anyk_on_host_stack(give_up, text);
    return NOTIFY_DONE;
}

static struct notifier_block panic_block = {.notifier_call = on_panic, .priority = INT_MAX};

void __init anyk_console_init(void)
{
    atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
    register_console(&console);
}

void machine_halt(void)
{
    panic("the kernel was halted");
}

void machine_power_off(void)
{
    panic("the kernel was powered off");
}

void machine_restart(char *command)
{
    panic("the kernel was restarted");
}

void (*pm_power_off)(void);

static void fail(void *text)
{
    panic("%s", (const char *)text);
}

void anyk_fail(const char *text)
{
    anyk_call(fail, (void *)text);
}
