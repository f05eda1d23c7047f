/*
 * The descriptors that stand for sockets, as the rest of the host uses them.
 */
#ifndef PYSTACK_HOST_DESCRIPTORS_H
#define PYSTACK_HOST_DESCRIPTORS_H

#include "stack/stack.h"

/* Under the lock: the socket's descriptor, if any, will show `mask` when the engine is left. */
void descriptor_show(ps_stack *stack, int64_t handle, uint32_t mask);
/* Asks the engine again; inside an ENGINE_GUARD. For calls that change readiness silently. */
void descriptor_refresh(ps_stack *stack, int64_t handle);
/* Something was sent by it. */
void descriptor_has_sent(ps_stack *stack, int64_t handle);
/* A reader has found nothing. */
void descriptor_found_nothing(ps_stack *stack, int64_t handle);
/* Whether a descriptor was made non-blocking (fcntl(2), O_NONBLOCK). */
bool descriptor_waits_not(ps_stack *stack, int64_t handle);
/* Shows what has come about meanwhile. */
void descriptors_settle(ps_stack *stack);
/* If what the socket is to show was to wait (descriptor_later.c), it doesn't any longer. */
void descriptor_show_now(ps_stack *stack, int64_t handle);
/* Shows what has waited for long enough. */
void descriptors_show_later(ps_stack *stack);
/* Inside the engine: asks again for all of them. */
void descriptors_refresh(ps_stack *stack);
/* All show an error, as each will from now on: the Stack is lost or at its end. */
void descriptors_fail(ps_stack *stack);
/* Inside the engine: closes the sockets whose last descriptor has been closed. */
void descriptors_reap(ps_stack *stack);
void descriptor_close(ps_stack *stack, int64_t handle);
/* In a process that doesn't own the Stack: a socket's number, and whether it is the user's. */
int descriptor_note(ps_stack *stack, int64_t handle, int number, bool is_users);
/* descriptor_calls.c */
int local_descriptor(ps_stack *stack, int64_t handle, bool nonblocking);
int64_t local_accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number);
/* `elsewhere`: another process holds the socket as well. */
int local_descriptor_close(ps_stack *stack, int64_t handle, int number, bool elsewhere);
/* Of a Stack that has ended, or is another process's: closes a number that shows the socket. */
void descriptor_close_stray(const ps_stack *stack, int64_t handle, int number);
/* A duplicate number to pass to another process and then close; -errno. */
int descriptor_lend(ps_stack *stack, int64_t handle);
/* descriptor_end.c: the Stack is closed; then, the last reference is gone. */
void descriptors_abandon(ps_stack *stack);
void descriptors_free(ps_stack *stack);
/* After a number was closed: gives back what a silent descriptor without numbers was kept for. */
void descriptor_end_silence(ps_stack *stack, int64_t handle);
/* In a child: closes our ends of the parent's. */
void descriptor_forget_all(ps_stack *stack);
/* descriptor_files.c */
void files_before_fork(void);
/* The Stack's socket that a number shows; -ENOENT: none. */
int64_t files_socket(const ps_stack *stack, int number);
void files_after_fork(bool is_child);
/* descriptor_abroad.c */
/* A descriptor that shows the socket came from another process. Whether this one has the socket as
 * well; if not, it takes its own number, by which readiness goes on being shown. */
bool descriptor_keep(ps_stack *stack, int64_t handle, int number);
/* Whether our end would hear of the last number's close. */
bool descriptor_tells_death(ps_stack *stack, int64_t handle);
/* Whether numbers of the socket are left that aren't tracked here: the last one closes it. */
bool descriptor_lives_on(ps_stack *stack, int64_t handle);

#endif
