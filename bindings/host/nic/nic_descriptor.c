/*
 * Frames over a descriptor: one a read, or behind a length in a stream of bytes.
 *
 * A stream may take or give any part of a frame at a time. What could not be written waits
 * in `pending`, and frames that come meanwhile are refused, so that none is torn.
 */
#include "nic/nic_descriptor.h"
#include "api/nic_api.h"
#include "nic/nic.h"
#include "nic/queues.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Buffers of the stack's in one write; a frame of more is copied together first. */
#define MOST_VECTORS 64

/* virtio's header (virtio 1.2, 5.1.6; here in the machine's own byte order, as tun(4) has it). */
struct virtio_header {
    uint8_t flags, gso_type;
    uint16_t header_size, gso_size, checksum_start, checksum_offset;
};
_Static_assert(sizeof(struct virtio_header) == VIRTIO_HEADER, "as on the wire");
enum { VIRTIO_NEEDS_CHECKSUM = 1, VIRTIO_DATA_VALID = 2 };
enum { VIRTIO_TCP4 = 1, VIRTIO_TCP6 = 4, VIRTIO_UDP = 5, VIRTIO_ECN = 0x80 };

struct descriptor_nic {
    ps_nic nic;
    int fd;
    int (*configure)(int fd, uint32_t offloads); /* NULL: the far end isn't told */
    struct here here;
    enum ps_framing framing;
    bool refused;     /* the last write found the far end closed */
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

/* What a write's result means. */
static int outcome(struct descriptor_nic *self, ssize_t wrote)
{
    int error = wrote < 0 ? errno : 0;
    self->refused =
        error == ECONNREFUSED || error == ECONNRESET || error == ENOTCONN || error == EPIPE;
    return is_full(error) ? -ENOBUFS : -error;
}

static enum nic_ear ear(ps_nic *nic, uint64_t *taken)
{
    (void)taken;
    const struct descriptor_nic *self = (const struct descriptor_nic *)nic;
    struct pollfd state = {self->fd, 0, 0};
    return self->refused || (poll(&state, 1, 0) > 0 && state.revents != 0) ? NIC_DEAF : NIC_HEARD;
}

static int transmit_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                            const struct ps_offload *offload, uint64_t now_us)
{
    (void)now_us, (void)total;
    struct virtio_header header = {0};
    struct iovec vectors[MOST_VECTORS + 1]; /* to clear them all would cost more than the rest */
    if (count > MOST_VECTORS)
        return -EMSGSIZE;
    if (offload != NULL && offload->checksum == PS_CHECKSUM_PARTIAL) {
        header.flags = VIRTIO_NEEDS_CHECKSUM;
        header.checksum_start = offload->checksum_start;
        header.checksum_offset = offload->checksum_offset;
    }
    if (offload != NULL && offload->segmentation != 0) {
        header.gso_type = offload->segmentation == PS_OFFLOAD_TCP4   ? VIRTIO_TCP4
                          : offload->segmentation == PS_OFFLOAD_TCP6 ? VIRTIO_TCP6
                                                                     : VIRTIO_UDP;
        header.gso_size = offload->segment_size;
        header.header_size = (uint16_t)pieces[0].size; /* what the kernel keeps in one piece */
    }
    vectors[0] = (struct iovec){&header, sizeof header};
    for (size_t i = 0; i < count; i++)
        vectors[i + 1] = (struct iovec){pieces[i].base, pieces[i].size};
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    return outcome(self, writev(self->fd, vectors, (int)count + 1));
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    if (self->framing == PS_FRAMING_VIRTIO)
        return transmit_offload(nic, pieces, count, total, NULL, now_us);
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
    result = outcome(self, wrote);
    if (result < 0)
        return result;
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

/* Nothing now, as opposed to the wire being gone. Datagram sockets may carry empty messages,
 * TAPs give EIO while they are down. */
static ssize_t got_or_again(ssize_t got)
{
    return got == 0 || got == -EIO || got == -ENETDOWN || got == -ECONNREFUSED ? -EAGAIN : got;
}

static ssize_t receive_pieces(ps_nic *nic, const struct ps_piece *pieces, size_t count,
                              struct nic_frame *frame)
{
    struct virtio_header header = {0};
    struct iovec vectors[PS_ROOM_PIECES + 1];
    ssize_t got;
    vectors[0] = (struct iovec){&header, sizeof header};
    for (size_t i = 0; i < count; i++)
        vectors[i + 1] = (struct iovec){pieces[i].base, pieces[i].size};
    do {
        got = readv(((struct descriptor_nic *)nic)->fd, vectors, (int)count + 1);
    } while (got > 0 && got <= VIRTIO_HEADER);
    if (got < 0)
        return got_or_again(errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno);
    if (got == 0)
        return -EAGAIN;
    frame->size = (size_t)got - VIRTIO_HEADER;
    struct ps_offload *offload = &frame->offload;
    *offload = (struct ps_offload){0};
    if (header.flags & VIRTIO_NEEDS_CHECKSUM) {
        offload->checksum = PS_CHECKSUM_PARTIAL;
        offload->checksum_start = header.checksum_start;
        offload->checksum_offset = header.checksum_offset;
    } else if (header.flags & VIRTIO_DATA_VALID) {
        offload->checksum = PS_CHECKSUM_TRUSTED;
    }
    int type = header.gso_type & ~VIRTIO_ECN;
    if (type != 0) {
        /* Another type, which wasn't negotiated, could not be segmented. */
        offload->segmentation = type == VIRTIO_TCP4   ? PS_OFFLOAD_TCP4
                                : type == VIRTIO_TCP6 ? PS_OFFLOAD_TCP6
                                : type == VIRTIO_UDP  ? PS_OFFLOAD_UDP
                                                      : PS_OFFLOAD_CHECKSUM;
        offload->segment_size = offload->segmentation != PS_OFFLOAD_CHECKSUM ? header.gso_size : 0;
    }
    return (ssize_t)frame->size;
}

static ssize_t receive_frame(ps_nic *nic, struct nic_frame *frame, uint64_t now_us)
{
    (void)now_us;
    const struct ps_piece whole = {frame->bytes, PS_FRAME_SIZE};
    return receive_pieces(nic, &whole, 1, frame);
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    if (self->pending_size > 0)
        flush(self); /* a wire that has gone shows itself to the read */
    if (self->framing != PS_FRAMING_DATAGRAM)
        return receive_stream(self, frame, room);
    return got_or_again(read_some(self->fd, frame, room));
}

static bool is_far_end(ps_nic *nic, const uint8_t address[4], uint64_t now_us)
{
    return here_is(&((struct descriptor_nic *)nic)->here, address, now_us);
}

static void set_offloads(ps_nic *nic, uint32_t offloads)
{
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    if (self->configure != NULL)
        self->configure(self->fd, offloads);
}

static int descriptor(ps_nic *nic)
{
    return ((struct descriptor_nic *)nic)->fd;
}

static void forget(ps_nic *nic)
{
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    close(self->fd);
    self->fd = -1;
    here_close(&self->here);
    if (nic->queues != NULL)
        queues_forget(nic->queues);
}

static void destroy(ps_nic *nic)
{
    struct descriptor_nic *self = (struct descriptor_nic *)nic;
    set_offloads(nic, 0); /* a device that stays doesn't keep our wishes for its next user */
    close(self->fd);
    here_close(&self->here);
    if (nic->queues != NULL)
        queues_leave(nic->queues); /* last: a newcomer in its place finds a queue free */
    free(self->pending);
    free(self->incoming);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "descriptor",
    .transmit = transmit,
    .receive = receive,
    .descriptor = descriptor,
    .ear = ear,
    .forget = forget,
    .destroy = destroy,
};

static const struct ps_nic_kind virtio_kind = {
    .name = "descriptor",
    .transmit = transmit,
    .transmit_offload = transmit_offload,
    .receive_frame = receive_frame,
    .receive_pieces = receive_pieces,
    .is_far_end = is_far_end,
    .set_offloads = set_offloads,
    .descriptor = descriptor,
    .ear = ear,
    .forget = forget,
    .destroy = destroy,
};

void descriptor_nic_configure(ps_nic *nic, uint32_t offloads,
                              int (*configure)(int fd, uint32_t offloads))
{
    nic->offloads = offloads;
    ((struct descriptor_nic *)nic)->configure = configure;
}

void descriptor_nic_place(ps_nic *nic, const struct here *here)
{
    ((struct descriptor_nic *)nic)->here = *here;
}

void descriptor_nic_share(ps_nic *nic, uint32_t offloads, struct queues *queues)
{
    nic->offloads = offloads;
    nic->queues = queues;
}

ps_nic *ps_nic_descriptor(int fd, enum ps_framing framing, uint8_t layer, uint32_t mtu, int *error)
{
    struct descriptor_nic *self = calloc(1, sizeof *self);
    size_t room = header_size(framing) + PS_FRAME_SIZE;
    int flags = fcntl(fd, F_GETFL);
    int result = self == NULL ? -ENOMEM : flags < 0 ? -errno : 0;
    bool is_stream = header_size(framing) != 0;
    if (result == 0 && is_stream) {
        self->pending = malloc(room);
        self->incoming = malloc(room);
        if (self->pending == NULL || self->incoming == NULL)
            result = -ENOMEM;
    }
    if (result == 0)
        result = nic_init(&self->nic, framing == PS_FRAMING_VIRTIO ? &virtio_kind : &kind,
                          (enum ps_layer)layer, mtu);
    /* No program that is started keeps the wire open when this process has ended. */
    if (result == 0 &&
        (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0))
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
    self->here.fd = -1;
    self->framing = framing;
    if (framing == PS_FRAMING_VIRTIO)
        self->nic.offloads = PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4 | PS_OFFLOAD_TCP6;
    return &self->nic;
}
