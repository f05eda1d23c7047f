/*
 * Stacks that share a device with several queues.
 *
 * The kernel gives each frame to one queue: to the one that last sent something of the same flow
 * (it remembers 4096 flows for three seconds each), else to one chosen by a hash, whose key
 * nobody knows. So nearly all of a connection's frames reach the Stack that has it, and an incoming
 * connection belongs to the Stack that the hash chose. A frame that reaches another Stack is passed
 * on from there: after a pause of three seconds, when a queue was added or removed, and where a
 * frame is for all queues (flow.c). No state is shared, and no Stack is in charge: a segment that
 * belongs to no socket of a Stack goes on to the next, and the last one answers with a reset.
 *
 * Each has abstract AF_UNIX sockets, whose names belong to the network namespace: one that holds
 * its place, and one for frames passed on, while a Stack has the queue. They go when the process
 * ends. Only the same user and root are listened to.
 */
#define _GNU_SOURCE
#include "nic/queues.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum message_kind {
    MESSAGE_HELLO,   /* its sender is there now */
    MESSAGE_ALL,     /* a frame for everybody */
    MESSAGE_WANTED,  /* a frame for every Stack that wants its flow */
    MESSAGE_LOOKING, /* a frame that looks for the Stack that wants it */
};

struct message {
    uint8_t kind;
    uint8_t origin; /* the place of whom the kernel gave the frame to */
    uint8_t sender;
    uint8_t unused;
    struct ps_offload offload;
};

struct queues {
    int device_fd; /* the NIC's */
    int place_fd;  /* holds the place */
    int fd;        /* for what is passed on; -1: no Stack has the queue */
    unsigned device, count, place;
    uint64_t space;  /* the network namespace in which `device` is the device's index */
    uint64_t others; /* a bit for each place taken, as far as is known */
};

/* The namespace is named, too: a NIC that was opened in another one may be attached here. */
static socklen_t name_of(const struct queues *self, const char *what, unsigned count,
                         unsigned place, struct sockaddr_un *out)
{
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    int length =
        snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "pystack-%s/%" PRIu64 "/%u/%u/%u",
                 what, self->space, self->device, count, place);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Sends to one place, and learns whether it is taken. A full queue loses it, as a wire may. */
static bool tell(struct queues *self, unsigned place, enum message_kind kind, unsigned origin,
                 const struct nic_frame *frame)
{
    struct sockaddr_un name;
    struct message message = {
        .kind = (uint8_t)kind, .origin = (uint8_t)origin, .sender = (uint8_t)self->place};
    struct iovec parts[] = {{&message, sizeof message}, {NULL, 0}};
    if (frame != NULL) {
        message.offload = frame->offload;
        parts[1] = (struct iovec){frame->bytes, frame->size};
    }
    struct msghdr header = {
        .msg_name = &name,
        .msg_namelen = name_of(self, "queue", self->count, place, &name),
        .msg_iov = parts,
        .msg_iovlen = 2,
    };
    bool there = sendmsg(self->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
                 (errno != ECONNREFUSED && errno != ENOENT);
    if (there)
        self->others |= (uint64_t)1 << place;
    else
        self->others &= ~((uint64_t)1 << place);
    return there;
}

/* To all others that are known; or to all places, to see which are taken. */
static void tell_all(struct queues *self, enum message_kind kind, unsigned origin,
                     const struct nic_frame *frame)
{
    for (unsigned place = 0; place < self->count; place++)
        if (place != self->place && (kind == MESSAGE_HELLO || self->others >> place & 1))
            tell(self, place, kind, origin, frame);
}

/* How far a place is behind another, going round. */
static unsigned steps(const struct queues *self, unsigned from, unsigned to)
{
    return (to + self->count - from) % self->count;
}

/* To the next one not asked yet; false: there is none. */
static bool pass_on(struct queues *self, unsigned origin, const struct nic_frame *frame)
{
    unsigned asked = steps(self, origin, self->place);
    for (unsigned step = asked + 1; step < self->count; step++) {
        unsigned place = (origin + step) % self->count;
        if (self->others >> place & 1 && tell(self, place, MESSAGE_LOOKING, origin, frame))
            return true;
    }
    return false;
}

bool queues_keep(struct queues *self, const struct nic_frame *frame, enum ps_layer layer,
                 const struct queues_wants *wants)
{
    struct ps_flow flow;
    if (self->others == 0)
        return true;
    switch (flow_destiny(frame->bytes, frame->size, layer, &flow)) {
    case TO_ALL:
        tell_all(self, MESSAGE_ALL, self->place, frame);
        return true;
    case TO_ALL_WHO_WANT:
        tell_all(self, MESSAGE_WANTED, self->place, frame);
        return wants->wants(wants->user, &flow);
    case TO_ONE_WHO_WANTS:
        return wants->wants(wants->user, &flow) || !pass_on(self, self->place, frame);
    default:
        return true;
    }
}

/* Whether the message's sender is the same user as we are, or root. */
static bool is_trusted(struct msghdr *header)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(part), sizeof sender);
            return sender.uid == geteuid() || sender.uid == 0;
        }
    return false;
}

/* Whether a frame that was passed on is for us; else it has gone on. */
static bool is_for_us(struct queues *self, const struct message *message,
                      const struct nic_frame *frame, enum ps_layer layer,
                      const struct queues_wants *wants)
{
    struct ps_flow flow;
    switch (message->kind) {
    case MESSAGE_ALL:
        return true;
    case MESSAGE_WANTED:
        flow_destiny(frame->bytes, frame->size, layer, &flow);
        return wants->wants(wants->user, &flow);
    case MESSAGE_LOOKING:
        flow_destiny(frame->bytes, frame->size, layer, &flow);
        return wants->wants(wants->user, &flow) || !pass_on(self, message->origin, frame);
    default:
        return false;
    }
}

ssize_t queues_receive(struct queues *self, struct nic_frame *frame, enum ps_layer layer,
                       const struct queues_wants *wants)
{
    for (;;) {
        struct message message;
        struct iovec parts[] = {{&message, sizeof message}, {frame->bytes, PS_FRAME_SIZE}};
        union {
            struct cmsghdr aligned;
            char bytes[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct msghdr header = {
            .msg_iov = parts,
            .msg_iovlen = 2,
            .msg_control = &control,
            .msg_controllen = sizeof control,
        };
        ssize_t got = recvmsg(self->fd, &header, MSG_DONTWAIT);
        if (got < 0)
            return -EAGAIN;
        if ((size_t)got < sizeof message || header.msg_flags & MSG_TRUNC || !is_trusted(&header) ||
            message.sender >= self->count || message.origin >= self->count)
            continue;
        self->others |= (uint64_t)1 << message.sender & ~((uint64_t)1 << self->place);
        frame->size = (size_t)got - sizeof message;
        frame->offload = message.offload;
        if (frame->size > 0 && is_for_us(self, &message, frame, layer, wants))
            return (ssize_t)frame->size;
    }
}

/* The network namespace that this thread is in; 0: the system doesn't say. */
static uint64_t this_namespace(void)
{
    struct stat about;
    return stat("/proc/thread-self/ns/net", &about) == 0 ? about.st_ino : 0;
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static int set_queue(const struct queues *self, int flag)
{
    struct ifreq request = {.ifr_flags = (short)flag};
    return ioctl(self->device_fd, TUNSETQUEUE, &request) != 0 ? -errno : 0;
}

/* Whether others share the device by another count. A newcomer takes the first place. */
static bool is_otherwise(const struct queues *self)
{
    struct sockaddr_un name;
    for (unsigned other = 2; other <= MOST_QUEUES; other++) {
        if (other == self->count)
            continue;
        socklen_t length = name_of(self, "place", other, 0, &name);
        if (connect(self->place_fd, (const struct sockaddr *)&name, length) == 0)
            return true;
    }
    return false;
}

static int take_place(struct queues *self)
{
    struct sockaddr_un name;
    if (is_otherwise(self))
        return -EINVAL;
    for (unsigned place = 0; place < self->count; place++) {
        socklen_t length = name_of(self, "place", self->count, place, &name);
        if (bind(self->place_fd, (const struct sockaddr *)&name, length) == 0) {
            self->place = place;
            return 0;
        }
        if (errno != EADDRINUSE)
            return -errno;
    }
    return -EUSERS;
}

struct queues *queues_join(int fd, unsigned device, unsigned count, int *error)
{
    struct queues *self = calloc(1, sizeof *self);
    if (self == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    *self = (struct queues){
        .device_fd = fd, .fd = -1, .device = device, .count = count, .space = this_namespace()};
    self->place_fd = open_socket();
    int result = self->place_fd < 0 ? self->place_fd : take_place(self);
    if (result == 0)
        result = set_queue(self, IFF_DETACH_QUEUE);
    if (result < 0) {
        *error = -result;
        queues_leave(self);
        return NULL;
    }
    return self;
}

void queues_leave(struct queues *self)
{
    if (self->place_fd >= 0)
        close(self->place_fd);
    free(self);
}

void queues_forget(struct queues *self)
{
    if (self->place_fd >= 0)
        close(self->place_fd);
    if (self->fd >= 0)
        close(self->fd);
    self->device_fd = self->place_fd = self->fd = -1;
}

int queues_enter(struct queues *self)
{
    const int on = 1;
    struct sockaddr_un name;
    socklen_t length = name_of(self, "queue", self->count, self->place, &name);
    int fd = open_socket();
    if (fd < 0)
        return fd;
    int result = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&name, length) != 0)
        result = -errno;
    if (result == 0)
        result = set_queue(self, IFF_ATTACH_QUEUE);
    if (result < 0) {
        close(fd);
        return result;
    }
    self->fd = fd;
    self->others = 0;
    tell_all(self, MESSAGE_HELLO, self->place, NULL);
    return 0;
}

void queues_exit(struct queues *self)
{
    if (self->fd < 0)
        return;
    set_queue(self, IFF_DETACH_QUEUE);
    close(self->fd);
    self->fd = -1;
}

unsigned queues_count(const struct queues *self)
{
    return self->count;
}

unsigned queues_place(const struct queues *self)
{
    return self->place;
}

int queues_descriptor(const struct queues *self)
{
    return self->fd;
}
#else
struct queues *queues_join(int fd, unsigned device, unsigned count, int *error)
{
    (void)fd, (void)device, (void)count;
    *error = ENOSYS;
    return NULL;
}

int queues_enter(struct queues *self)
{
    (void)self;
    return -ENOSYS;
}

void queues_exit(struct queues *self)
{
    (void)self;
}

void queues_leave(struct queues *self)
{
    (void)self;
}

void queues_forget(struct queues *self)
{
    (void)self;
}

unsigned queues_count(const struct queues *self)
{
    (void)self;
    return 0;
}

unsigned queues_place(const struct queues *self)
{
    (void)self;
    return 0;
}

int queues_descriptor(const struct queues *self)
{
    (void)self;
    return -1;
}

bool queues_keep(struct queues *self, const struct nic_frame *frame, enum ps_layer layer,
                 const struct queues_wants *wants)
{
    (void)self, (void)frame, (void)layer, (void)wants;
    return true;
}

ssize_t queues_receive(struct queues *self, struct nic_frame *frame, enum ps_layer layer,
                       const struct queues_wants *wants)
{
    (void)self, (void)frame, (void)layer, (void)wants;
    return -EAGAIN;
}
#endif
