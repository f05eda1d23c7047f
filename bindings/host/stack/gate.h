/*
 * The gate between the wires and the driver's thread.
 */
#ifndef PYSTACK_HOST_GATE_H
#define PYSTACK_HOST_GATE_H

#include "api/host_api.h"

/* The longest that frames wait for a program that keeps working. */
#define GATE_MOST_SHUT_US 4000

/* What the driver's thread watches for frames, and may leave to a busy program: gate.c. */
struct gate {
    int fd;                  /* an epoll instance with the NICs' descriptors; -1: none yet */
    size_t count;            /* how many those are */
    bool open;               /* a frame wakes the thread */
    bool holds;              /* something was held back since the thread looked */
    bool timed;              /* it is shut, and the thread looks again before long */
    struct descriptor *held; /* whose answer's first part waits for the second: answers.c */
    bool due;                /* the program has done all that it was known to have to do */
    uint64_t round;          /* counts the moments that were left to it, from 1 */
    uint64_t progress_us;    /* when it read or sent anything last */
    uint64_t attended_us;    /* when it took frames in last */
    uint64_t failures;       /* moments without progress though an answer was expected */
    size_t unread;           /* descriptors reported in this one, and not handled yet */
    size_t owed;             /* those handled and about to be answered */
    unsigned doubt, skip;    /* how often answers didn't come; questions without trust */
    unsigned kept;           /* moments that paid off, up to a number */
};

/* The gate's record of a descriptor. */
struct attention {
    uint64_t told;     /* the moment in which it began to say "readable"; 0: it doesn't */
    uint64_t looked;   /* the moment of the last read that has no answer yet; 0: none */
    uint64_t failures; /* the gate's count at that read */
    uint8_t answers;   /* trust: grows with each answer in time */
    uint8_t sent;      /* sends since the last read */
    uint8_t before;    /* sends between the two reads before */
    uint8_t parts;     /* sends to expect: the smaller number of the last two answers */
    bool owes;         /* an answer is expected */
};

/* The descriptors to poll for a NIC's frames; 0: none. */
size_t nic_watched(const ps_stack *stack, uint32_t index, int descriptors[2]);
/* Under the lock: what to poll for frames; -1: the NICs themselves. */
int gate_descriptor(ps_stack *stack);
/* Under the lock: frames need not wake the thread for now; false: they must. */
bool gate_shut(ps_stack *stack);
void gate_open(ps_stack *stack);
/* Whether the program has done all that it is known to have to do. */
bool gate_is_idle(const struct gate *gate);
/* Under the lock: a descriptor says "readable" now. */
void gate_note_told(ps_stack *stack, struct attention *attention);
/* Under the lock: it doesn't any more: the program has looked. */
void gate_note_look(ps_stack *stack, struct attention *attention);
/* Under the lock: the program has sent something by its socket. */
void gate_note_answer(ps_stack *stack, struct attention *attention);
/* Under the lock: whether the send after those so far is not the last of an answer, and that one is
 * expected in this moment, before the thread looks. */
bool gate_expects_more(const ps_stack *stack, const struct attention *attention);
/* Under the lock: more was expected, and didn't come. */
void gate_note_end(ps_stack *stack, struct attention *attention);
/* Under the lock: there will be none any more. */
void gate_note_close(ps_stack *stack, struct attention *attention);
/* Under the lock, with the gate shut: how long it stays so until somebody looks again. */
uint64_t gate_patience_us(ps_stack *stack);
/* Under the lock: the moment is over; `wasted`: the program did nothing in it. Data may stay unread
 * for long (a reader that pauses, a stream at its end), and a question unanswered; from now on they
 * hold up no frames. */
void gate_neglect(ps_stack *stack, bool wasted);
/* The NICs are others now, or there will be none. */
void gate_forget(ps_stack *stack);

#endif
