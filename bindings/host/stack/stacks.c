/*
 * All Stacks of this process.
 */
#include "stack/stacks.h"
#include "nic/nic_python.h"
#include "stack/gate.h"
#include "stack/stack.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static ps_stack *list;      /* all that this process has made and not destroyed */
static atomic_bool is_held; /* the lock, for good */
static pthread_mutex_t nics_lock = PTHREAD_MUTEX_INITIALIZER;

void stacks_enter(ps_stack *stack)
{
    pthread_mutex_lock(&list_lock);
    stack->list_next = list;
    list = stack;
    pthread_mutex_unlock(&list_lock);
}

void stacks_leave(ps_stack *stack)
{
    pthread_mutex_lock(&list_lock);
    ps_stack **link = &list;
    while (*link != NULL && *link != stack)
        link = &(*link)->list_next;
    if (*link != NULL)
        *link = stack->list_next;
    pthread_mutex_unlock(&list_lock);
}

void stacks_put_nic(ps_stack *stack, uint32_t index, ps_nic *nic)
{
    pthread_mutex_lock(&nics_lock);
    stack->nics[index] = nic;
    stack->nic_gone[index] = false;
    if (index > stack->nic_last)
        stack->nic_last = index;
    pthread_mutex_unlock(&nics_lock);
}

ps_nic *stacks_take_nic(ps_stack *stack, uint32_t index)
{
    pthread_mutex_lock(&nics_lock);
    ps_nic *nic = stack->nics[index];
    stack->nics[index] = NULL;
    pthread_mutex_unlock(&nics_lock);
    return nic;
}

void stacks_before_fork(void)
{
    if (!is_held)
        pthread_mutex_lock(&list_lock);
    pthread_mutex_lock(&nics_lock);
}

void stacks_after_fork(void)
{
    pthread_mutex_unlock(&nics_lock);
    if (!is_held)
        pthread_mutex_unlock(&list_lock);
}

void stacks_forget(void)
{
    pthread_mutex_unlock(&nics_lock);
    pthread_mutex_init(&list_lock, NULL);
    is_held = false;
    for (ps_stack *stack = list; stack != NULL; stack = stack->list_next)
        for (uint32_t index = 0; index <= stack->nic_last; index++)
            if (stack->nics[index] != NULL)
                nic_forget(stack->nics[index]);
    list = NULL;
}

static bool needs_python(const struct ps_python_hypercalls *python)
{
    return python->clock != NULL || python->memory_allocate != NULL || python->random != NULL ||
           python->frame_out != NULL || python->log != NULL || python->panic != NULL ||
           python->serve != NULL;
}

bool stacks_need_python(void)
{
    bool any = python_nics() > 0 || carried_nics() > 0;
    pthread_mutex_lock(&list_lock);
    for (const ps_stack *stack = list; stack != NULL; stack = stack->list_next)
        any = any || needs_python(&stack->python);
    pthread_mutex_unlock(&list_lock);
    return any;
}

static bool is_still(const ps_stack *stack)
{
    int descriptors[2];
    if (stack->world != NULL || stack->python.stalled == NULL || stack->remote != NULL ||
        atomic_load(&stack->server) != NULL)
        return false;
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        if (nic_watched(stack, index, descriptors) > 0)
            return false;
    return true;
}

bool stacks_are_still(void)
{
    bool all = true;
    pthread_mutex_lock(&list_lock);
    pthread_mutex_lock(&nics_lock);
    for (const ps_stack *stack = list; stack != NULL; stack = stack->list_next)
        all = all && is_still(stack);
    pthread_mutex_unlock(&nics_lock);
    pthread_mutex_unlock(&list_lock);
    return all;
}

ps_stack *stacks_hold(void)
{
    pthread_mutex_lock(&list_lock);
    is_held = true;
    return list;
}
