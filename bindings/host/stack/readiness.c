/*
 * The readiness that a socket's descriptor shows to select, poll and epoll: in each state the same
 * as a kernel socket's.
 *
 * It is one end of an AF_UNIX pair whose other end we keep. A byte from our end makes it readable,
 * an out-of-band byte urgent, one more byte is news for edge-triggered polling; what its own end
 * has sent makes it unwritable. Shutting down our end for writing is the peer's FIN, for both
 * directions the end of the connection, and closing it while it has something unread is a reset,
 * with the error for SO_ERROR to take. A stream that is connected to nothing polls as TCP's does.
 * With datagrams an error comes without an end: our end dissolves its association while something
 * is unread there.
 *
 * It is made when fileno() is first asked for; a socket that is never polled pays nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "stack/descriptor.h"
#include "stack/gate.h"

/* More than a quarter of the smallest send buffer: from there Linux calls it unwritable. */
#define FILLER 2000

/* The readiness of an unconnected stream. */
#define NOTHING (PS_READY_WRITE | PS_READY_HANGUP)
#define OVER (PS_READY_READ | PS_READY_WRITE | PS_READY_HANGUP | PS_READY_ENDED)
#define SHOWN_BITS (OVER | PS_READY_ERROR | PS_READY_URGENT)

static const char filler[FILLER];

static void drain(const struct descriptor *descriptor, int fd)
{
    char scratch[4096];
    ssize_t got;
    do
        got = recv(fd, scratch, sizeof scratch, MSG_DONTWAIT);
    while (got == (ssize_t)sizeof scratch || (descriptor->datagrams && got >= 0));
}

/* Puts a byte into the shown end, emptying it first where there is no room. */
static bool put(struct descriptor *descriptor, int flags)
{
    flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
    if (send(descriptor->kept, "", 1, flags) == 1)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS) {
        int fd = descriptor_pin(descriptor);
        if (fd < 0)
            return false;
        drain(descriptor, fd);
        return send(descriptor->kept, "", 1, flags) == 1;
    }
    if (descriptor_is_dead(descriptor))
        descriptor_bury(descriptor);
    return false;
}

static bool fill(struct descriptor *descriptor)
{
    int fd = descriptor_pin(descriptor);
    if (fd < 0)
        return false;
    ssize_t sent = send(fd, filler, sizeof filler, MSG_DONTWAIT | MSG_NOSIGNAL);
#ifndef __linux__
    while (sent > 0)
        sent = send(fd, filler, sizeof filler, MSG_DONTWAIT | MSG_NOSIGNAL);
#endif
    (void)sent;
    return true;
}

/* Leaves a byte in our end, which makes a reset of its end. */
static void prime(struct descriptor *descriptor)
{
    int fd = descriptor_pin(descriptor);
    if (fd >= 0)
        send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void show_writable(struct descriptor *descriptor, bool writable)
{
    if (((descriptor->shows & PS_READY_WRITE) != 0) == writable)
        return;
    if (writable)
        drain(descriptor, descriptor->kept);
    else if (!fill(descriptor))
        return;
    descriptor->shows ^= PS_READY_WRITE;
}

/* Bytes and the urgent byte. */
static void show_readable(struct descriptor *descriptor, uint32_t wanted)
{
    const uint32_t bits = PS_READY_READ | PS_READY_URGENT;
    uint32_t shows = descriptor->shows & bits;
    wanted &= bits;
    if (shows & ~wanted) {
        int fd = descriptor_pin(descriptor);
        if (fd < 0)
            return;
        char urgent;
        if (shows & PS_READY_URGENT)
            recv(fd, &urgent, 1, MSG_OOB | MSG_DONTWAIT);
        drain(descriptor, fd);
        shows = 0;
    }
    bool urgent = wanted & ~shows & PS_READY_URGENT && put(descriptor, MSG_OOB);
    if (!urgent && (wanted & ~shows || (wanted & PS_READY_READ && descriptor->news)))
        put(descriptor, 0);
    descriptor->shows = (descriptor->shows & ~bits) | wanted;
}

static void take_error(struct descriptor *descriptor)
{
    int error, fd = descriptor_pin(descriptor);
    socklen_t size = sizeof error;
    if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
        descriptor->shows &= ~(uint32_t)PS_READY_ERROR;
}

/* --- streams ---------------------------------------------------------------------------------- */

static void reset(struct descriptor *descriptor)
{
    if (descriptor->shows & PS_READY_WRITE && !(descriptor->shows & PS_READY_HANGUP))
        prime(descriptor);
    /* A child that was forked may have a copy of our end: closing it alone would show nothing. */
    shutdown(descriptor->kept, SHUT_RDWR);
    close(descriptor->kept);
    descriptor->kept = -1;
    descriptor->form = DESCRIPTOR_RESET;
    descriptor->shows = OVER | PS_READY_ERROR;
}

static void show_end(struct descriptor *descriptor, bool both)
{
    uint32_t bits = PS_READY_READ | PS_READY_ENDED | (both ? PS_READY_HANGUP : 0);
    bool again = (descriptor->shows & bits) == bits;
    if (again && !descriptor->news)
        return;
    /* What stays unread in the shown end tells us of its last close: see descriptor_is_dead. */
    if (!(descriptor->shows & (PS_READY_READ | PS_READY_ENDED)))
        put(descriptor, 0);
    if (both && !again)
        prime(descriptor);
    shutdown(descriptor->kept, both ? SHUT_RDWR : SHUT_WR);
    descriptor->shows |= bits;
}

static void show_alone(struct descriptor *descriptor, uint32_t wanted)
{
    int fd = wanted == OVER ? descriptor_pin(descriptor) : -1;
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RDWR);
    descriptor->shows = OVER;
}

static void show_stream(struct descriptor *descriptor, uint32_t wanted)
{
    /* An error comes with the end only. */
    if (wanted & PS_READY_ERROR)
        wanted = wanted & PS_READY_HANGUP ? wanted | OVER : wanted & ~(uint32_t)PS_READY_ERROR;
    /* The only way back is to start over. */
    bool anew = descriptor->form != DESCRIPTOR_ALONE && wanted == NOTHING;
    if (descriptor->shows & PS_READY_ENDED && !(wanted & PS_READY_ENDED))
        anew = true;
    if (anew && !renewal_make(descriptor))
        return;
    if (descriptor->form == DESCRIPTOR_RESET) {
        if (descriptor->shows & ~wanted & PS_READY_ERROR)
            take_error(descriptor);
        return;
    }
    if (descriptor->form == DESCRIPTOR_ALONE) {
        if (wanted & PS_READY_HANGUP && !(wanted & PS_READY_ERROR)) {
            show_alone(descriptor, wanted);
            return;
        }
        if (!renewal_join(descriptor))
            return;
        show_writable(descriptor, false); /* being so again is what a connect ends with */
    }
    if (wanted & PS_READY_ERROR) {
        reset(descriptor);
        return;
    }
    show_writable(descriptor, wanted & PS_READY_WRITE);
    if (wanted & PS_READY_ENDED)
        show_end(descriptor, wanted & PS_READY_HANGUP);
    else
        show_readable(descriptor, wanted);
}

/* --- datagrams -------------------------------------------------------------------------------- */

static int dissolve(int fd)
{
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    return connect(fd, &nothing, sizeof nothing);
}

static void show_error(struct descriptor *descriptor)
{
    if (!descriptor_name(descriptor))
        return;
    if (descriptor->shows & PS_READY_ERROR)
        take_error(descriptor); /* or priming meets it, and leaves nothing unread */
    prime(descriptor);
    dissolve(descriptor->kept);
    connect(descriptor->kept, (struct sockaddr *)&descriptor->name, descriptor->name_size);
    descriptor->shows |= PS_READY_ERROR | PS_READY_WRITE; /* what filled it is gone, too */
}

static void show_datagrams(struct descriptor *descriptor, uint32_t wanted)
{
    uint32_t ends = PS_READY_ENDED | PS_READY_HANGUP;
    if (descriptor->shows & ~wanted & PS_READY_ERROR)
        take_error(descriptor);
    else if (wanted & PS_READY_ERROR && (!(descriptor->shows & PS_READY_ERROR) || descriptor->news))
        show_error(descriptor);
    show_writable(descriptor, wanted & PS_READY_WRITE);
    if (!(descriptor->shows & PS_READY_ENDED))
        show_readable(descriptor, wanted);
    if (!(wanted & ends & ~descriptor->shows) && !(wanted & ends && descriptor->news))
        return;
    int fd = descriptor_pin(descriptor);
    if (fd < 0)
        return;
    shutdown(fd, wanted & PS_READY_HANGUP ? SHUT_RDWR : SHUT_RD);
    descriptor->shows |= PS_READY_READ | (wanted & ends);
}

/* --- both ------------------------------------------------------------------------------------- */

/* An urgent byte can't be shown where nothing can be read. It comes with a byte to read, which is
 * withdrawn, and the urgent one with it, when a reader has found nothing. */
uint32_t readiness_wanted(struct descriptor *descriptor)
{
    uint32_t wanted = descriptor->wanted & SHOWN_BITS;
    if (!(wanted & PS_READY_URGENT) || wanted & PS_READY_READ)
        descriptor->urgent_seen = false;
    else
        wanted =
            descriptor->urgent_seen ? wanted & ~(uint32_t)PS_READY_URGENT : wanted | PS_READY_READ;
    return wanted;
}

static void tell_gate(struct descriptor *descriptor, uint32_t before)
{
    ps_stack *stack = descriptor->stack;
    uint32_t changed = (descriptor->shows ^ before) & PS_READY_READ;
    if (changed & descriptor->shows)
        gate_note_told(stack, &descriptor->attention);
    else if (changed)
        gate_note_look(stack, &descriptor->attention);
}

void readiness_show(struct descriptor *descriptor)
{
    uint32_t before = descriptor->shows, wanted = readiness_wanted(descriptor);
    if ((wanted == before && !descriptor->news) || descriptor->form == DESCRIPTOR_SILENT)
        return;
    if (descriptor->datagrams)
        show_datagrams(descriptor, wanted);
    else
        show_stream(descriptor, wanted);
    descriptor_unpin(descriptor);
    descriptor->news = false;
    tell_gate(descriptor, before);
}

int readiness_open(struct descriptor *descriptor, uint32_t mask, bool nonblocking)
{
    int ends[2] = {-1, -1};
    bool alone = RENEWABLE && !descriptor->datagrams && (mask & SHOWN_BITS) == NOTHING;
    int type = descriptor->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    if (alone)
        ends[0] = socket(AF_UNIX, type, 0);
    if (alone ? ends[0] < 0 : socketpair(AF_UNIX, type, 0, ends) != 0)
        return -errno;
    descriptor_prepare(ends[0]);
    if (!alone)
        descriptor_prepare(ends[1]);
    if (nonblocking)
        fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK);
    descriptor->shown = ends[0];
    descriptor->kept = ends[1];
    descriptor->form = alone ? DESCRIPTOR_ALONE : DESCRIPTOR_PAIRED;
    descriptor->shows = alone ? NOTHING : PS_READY_WRITE;
    descriptor->wanted = mask;
    return 0;
}
