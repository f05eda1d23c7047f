/*
 * Frames over a descriptor: one a read, or behind a length in a stream of bytes.
 *
 * A stream may take or give any part of a frame at a time. What could not be written waits
 * in `pending`, and frames that come meanwhile are refused, so that none is torn.
 */
#include "nic.h"
#include "nic_api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Buffers of the stack's in one write; a frame of more is copied together first. */
#define MOST_VECTORS 64

struct descriptor_nic {
    ps_nic nic;
    int fd;
    enum ps_framing framing;
    uint8_t *pending; /* a frame partly written */
    size_t pending_size, pending_done;
    uint8_t *incoming; /* a frame partly read, its length in front */
    size_t incoming_size;
};

static size_t header_size(enum ps_framing framing)
{
    return framing == PS_FRAMING_LENGTH_16 ? 2 : framing == PS_FRAMING_LENGTH_32 ? 4 : 0;
}

/* The wire's room is used up, as opposed to the wire being gone. */
static bool is_full(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static int flush(struct descriptor_nic *self)
{
    while (self->pending_done < self->pending_size) {
        ssize_t wrote = write(self->fd, self->pending + self->pending_done,
                              self->pending_size - self->pending_done);
        if (wrote < 0)
            return is_full(errno) ? -ENOBUFS : -errno;
        self->pending_done += (size_t)wrote;
    }
    self->pending_size = self->pending_done = 0;
    return 0;
}

static void gather(uint8_t *out, const struct iovec *vectors, int count)
{
    for (int i = 0; i < count; i++) {
        memcpy(out, vectors[i].iov_base, vectors[i].iov_len);
        out += vectors[i].iov_len;
    }
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    (void)now_us;
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    size_t header = header_size(self->framing);
    struct iovec vectors[MOST_VECTORS + 1];
    uint8_t length[4];
    int used = 0;
    if (count > MOST_VECTORS || (self->framing == PS_FRAMING_LENGTH_16 && total > UINT16_MAX))
        return -EMSGSIZE;
    int result = flush(self);
    if (result < 0)
        return result;
    for (size_t i = 0; i < header; i++)
        length[i] = (uint8_t)(total >> 8 * (header - 1 - i));
    if (header != 0)
        vectors[used++] = (struct iovec){length, header};
    for (size_t i = 0; i < count; i++)
        vectors[used++] = (struct iovec){pieces[i].base, pieces[i].size};
    ssize_t wrote = writev(self->fd, vectors, used);
    if (wrote < 0)
        return is_full(errno) ? -ENOBUFS : -errno;
    if (header == 0 || (size_t)wrote == header + total)
        return 0;
    gather(self->pending, vectors, used);
    self->pending_size = header + total;
    self->pending_done = (size_t)wrote;
    return 0;
}

static ssize_t read_some(int fd, uint8_t *out, size_t room)
{
    ssize_t got = read(fd, out, room);
    if (got < 0)
        return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return got;
}

/* A frame of a stream, as soon as all of it is there. */
static ssize_t receive_stream(struct descriptor_nic *self, uint8_t *frame, size_t room)
{
    size_t header = header_size(self->framing);
    for (;;) {
        size_t wanted = header;
        if (self->incoming_size >= header) {
            size_t size = 0;
            for (size_t i = 0; i < header; i++)
                size = size << 8 | self->incoming[i];
            if (size == 0 || size > room)
                return -EPROTO; /* no frame has that length: the streams are out of step */
            wanted += size;
            if (self->incoming_size == wanted) {
                memcpy(frame, self->incoming + header, size);
                self->incoming_size = 0;
                return (ssize_t)size;
            }
        }
        ssize_t got =
            read_some(self->fd, self->incoming + self->incoming_size, wanted - self->incoming_size);
        if (got <= 0)
            return got < 0 ? got : -EPIPE;
        self->incoming_size += (size_t)got;
    }
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    if (self->pending_size > 0)
        flush(self); /* a wire that has gone shows itself to the read */
    if (self->framing != PS_FRAMING_DATAGRAM)
        return receive_stream(self, frame, room);
    ssize_t got = read_some(self->fd, frame, room);
    /* Datagram sockets may carry empty messages, TAPs give EIO while they are down. */
    return got == 0 || got == -EIO || got == -ENETDOWN || got == -ECONNREFUSED ? -EAGAIN : got;
}

static int descriptor(ps_nic *nic)
{
    return ((struct descriptor_nic *)nic)->fd;
}

static void destroy(ps_nic *nic)
{
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    close(self->fd);
    free(self->pending);
    free(self->incoming);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "descriptor",
    .transmit = transmit,
    .receive = receive,
    .descriptor = descriptor,
    .destroy = destroy,
};

ps_nic *ps_nic_descriptor(int fd, enum ps_framing framing, uint8_t layer, uint32_t mtu, int *error)
{
    struct descriptor_nic *self = calloc(1, sizeof *self);
    size_t room = header_size(framing) + PS_FRAME_SIZE;
    int flags = fcntl(fd, F_GETFL);
    int result = self == NULL ? -ENOMEM : flags < 0 ? -errno : 0;
    if (result == 0 && framing != PS_FRAMING_DATAGRAM) {
        self->pending = malloc(room);
        self->incoming = malloc(room);
        if (self->pending == NULL || self->incoming == NULL)
            result = -ENOMEM;
    }
    if (result == 0)
        result = nic_init(&self->nic, &kind, (enum ps_layer)layer, mtu);
    if (result == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        result = -errno;
    if (result < 0) {
        if (self != NULL) {
            free(self->pending);
            free(self->incoming);
        }
        free(self);
        *error = -result;
        return NULL;
    }
    self->fd = fd;
    self->framing = framing;
    return &self->nic;
}
