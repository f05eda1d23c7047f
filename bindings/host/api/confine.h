/*
 * Keeping this process, its threads and all its children from the kernel's network, for ever:
 * seccomp(2).
 */
#ifndef PYSTACK_CONFINE_H
#define PYSTACK_CONFINE_H

#include <stdbool.h>

/* From now on socket(2) fails with EACCES for the families by which Internet packets travel, in
 * all threads or in the calling one alone, and in whatever they start; and io_uring can't be set
 * up. What is open stays usable.
 *
 * Each process that is refused something gets one line on standard error, which ends with `remedy`.
 * A helper process writes it, and ends with the last confined process.
 *
 * 1: so; 0: without lines (an old kernel), or it is confined already.
 * -EPERM, -EACCES, -EINVAL, -ESRCH: the kernel doesn't allow it here; -ENOSYS: not on this
 * system. Without CAP_SYS_ADMIN it sets PR_SET_NO_NEW_PRIVS: programs such as sudo then don't
 * get their rights. */
int ps_confine(const char *remedy, bool all_threads);

#ifndef PYSTACK_FOR_PYTHON
/* A question to the filter that is there already, as a socket of a type and protocol that nobody
 * has: a teller answers EALREADY, and doesn't tell. */
#define PS_PROBE_TYPE 15
#define PS_PROBE_PROTOCOL 0x7053

/* confine_tell.c: a process that answers what the filter refuses; `*channel` takes the filter's
 * descriptor (`ps_hand_over`). -errno. */
int ps_start_teller(const char *remedy, int *channel);
/* Gives the teller its descriptor; both are closed. */
int ps_hand_over(int channel, int listener);
#endif

#endif
