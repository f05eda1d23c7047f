/*
 * Several Stacks, in one process or in many, that share a device with several queues, and with it
 * one Ethernet address and the same IP addresses (queues.c).
 */
#ifndef PYSTACK_HOST_QUEUES_H
#define PYSTACK_HOST_QUEUES_H

#include "nic/nic.h"

#define MOST_QUEUES 64

/* Which Stacks must see a frame. */
enum destiny {
    TO_THIS,          /* whom the kernel gave it to: it is a question, which is answered once */
    TO_ALL,           /* everybody: an answer, or news, or a group's */
    TO_ONE_WHO_WANTS, /* the one with the connection or socket, else the last one asked */
    TO_ALL_WHO_WANT,  /* the same for the first fragment of a packet, whose others go to all */
};

/* Reads it from the frame, and the flow where it is needed (flow.c). */
enum destiny flow_destiny(const uint8_t *frame, size_t size, enum ps_layer layer,
                          struct ps_flow *flow);

/* Takes one of `count` places among those that share the device: the one with the index `device`,
 * of which `fd` is a queue. The kernel gives nothing to the queue until `queues_enter`. NULL and
 * *error: EUSERS, all are taken; EINVAL, others share it by another count. */
struct queues *queues_join(int fd, unsigned device, unsigned count, int *error);
void queues_leave(struct queues *self);
/* In a child process: the place is the parent's, and goes with it. */
void queues_forget(struct queues *self);
/* A Stack has the queue from now on, or none has any more. Once each, by turns. */
int queues_enter(struct queues *self);
void queues_exit(struct queues *self);
unsigned queues_count(const struct queues *self);
unsigned queues_place(const struct queues *self);
/* Readable when another one has passed something on; while a Stack has it. */
int queues_descriptor(const struct queues *self);

/* A Stack's answer whether it has a socket for a flow. */
struct queues_wants {
    bool (*wants)(void *user, const struct ps_flow *flow);
    void *user;
};

/* Whether a frame from the kernel is for us. It is passed on to other queues as well, or instead,
 * where it is for them. */
bool queues_keep(struct queues *self, const struct nic_frame *frame, enum ps_layer layer,
                 const struct queues_wants *wants);
/* A frame that another one has passed on to us. -EAGAIN: there is none. */
ssize_t queues_receive(struct queues *self, struct nic_frame *frame, enum ps_layer layer,
                       const struct queues_wants *wants);

#endif
