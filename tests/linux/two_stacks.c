/*
 * Two Stacks on a wire, driven through the host's C API alone: for a machine for which there is no
 * Python here. Takes the engine's library; says what it has seen, or what is wrong and exits
 * with 1.
 *
 * The clock is moved by hand, to what is due next whenever nothing else can happen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/host_api.h"

#define BYTES ((size_t)1 << 20)
#define PIECE 20000
#define PORT 80
#define MTU 1500
#define QUEUE_FRAMES 512
#define MEMORY_LIMIT ((uint64_t)256 << 20)
#define MOST_STEPS 100000
#define LONGEST_WAIT_US 60000000u
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static uint64_t now_us = 1000000;
static unsigned steps;

static int read_clock(void *user, uint64_t *out)
{
    (void)user;
    *out = now_us;
    return 0;
}

static int print_log(void *user, int level, const char *text)
{
    (void)user;
    printf("log %d: %s\n", level, text);
    return 0;
}

static struct ps_address address_of(uint8_t host, uint16_t port)
{
    return (struct ps_address){
        .family = PS_INET, .prefix = 24, .port = port, .bytes = {10, 0, 0, host}};
}

static ps_stack *open_stack(const char *engine, ps_nic *nic, uint8_t host)
{
    const struct ps_stack_options options = {
        .engine_path = engine,
        .memory_limit_bytes = MEMORY_LIMIT,
        .seeded = true,
        .seed = host,
        .python = {.clock = read_clock, .log = print_log},
    };
    ps_stack *stack;
    char error[512] = "";
    int result = ps_stack_open(&options, &stack, error, sizeof error);
    if (result < 0)
        printf("open: %d %s\n", result, error);
    REQUIRE(result == 0);
    struct ps_interface spec = {.mtu = MTU,
                                .flags = PS_IF_UP | PS_IF_LINK,
                                .layer = PS_LAYER_ETHERNET,
                                .mac = {2, 0, 0, 0, 0, host},
                                .name = "eth0"};
    int index = ps_attach(stack, nic, &spec);
    struct ps_address own = address_of(host, 0);
    REQUIRE(index > 0);
    REQUIRE(ps_address_add(stack, (uint32_t)index, &own, false) == 0);
    return stack;
}

/* Both do what is due. Without `news` from either the clock goes on. */
static void step(ps_stack *const stacks[2], bool news)
{
    uint64_t next_us[2] = {UINT64_MAX, UINT64_MAX}, soonest;
    for (int i = 0; i < 2; i++) {
        int result = ps_stack_run(stacks[i], 0, &next_us[i]);
        REQUIRE(result >= 0 || result == -EAGAIN);
    }
    soonest = next_us[0] < next_us[1] ? next_us[0] : next_us[1];
    REQUIRE(++steps < MOST_STEPS);
    if (news || soonest == 0)
        return;
    REQUIRE(soonest <= LONGEST_WAIT_US); /* else nothing will ever come */
    now_us += soonest;
}

static uint8_t byte_at(size_t place)
{
    return (uint8_t)(place * 31 + (place >> 8));
}

/* As much as there is room for. */
static size_t send_some(ps_stack *stack, int64_t handle, size_t sent)
{
    uint8_t bytes[PIECE];
    size_t size = BYTES - sent < PIECE ? BYTES - sent : PIECE;
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(sent + i);
    int64_t result = ps_send_plain(stack, handle, bytes, size, NULL, 0);
    REQUIRE(result > 0 || result == -EAGAIN);
    return result > 0 ? (size_t)result : 0;
}

static size_t receive_some(ps_stack *stack, int64_t handle, size_t received)
{
    uint8_t bytes[PIECE];
    int64_t result = ps_receive_plain(stack, handle, bytes, sizeof bytes, 0);
    REQUIRE(result > 0 || result == -EAGAIN);
    for (int64_t i = 0; i < result; i++)
        REQUIRE(bytes[i] == byte_at(received + (size_t)i));
    return result > 0 ? (size_t)result : 0;
}

/* Data both ways at once: each end's bytes, in order. */
static void exchange(ps_stack *const stacks[2], const int64_t handles[2])
{
    size_t sent[2] = {0}, received[2] = {0};
    while (received[0] < BYTES || received[1] < BYTES) {
        size_t moved = 0;
        for (int i = 0; i < 2; i++) {
            size_t out = sent[i] < BYTES ? send_some(stacks[i], handles[i], sent[i]) : 0;
            size_t in = received[i] < BYTES ? receive_some(stacks[i], handles[i], received[i]) : 0;
            sent[i] += out;
            received[i] += in;
            moved += out + in;
        }
        step(stacks, moved > 0);
    }
    printf("exchanged %zu bytes each way\n", BYTES);
}

static void connect_both(ps_stack *const stacks[2], int64_t handles[2])
{
    struct ps_address any = {.family = PS_INET, .port = PORT}, server = address_of(2, PORT), peer;
    int64_t listener = ps_socket(stacks[1], PS_INET, PS_STREAM, 0);
    REQUIRE(listener >= 0 && ps_bind(stacks[1], listener, &any) == 0);
    REQUIRE(ps_listen(stacks[1], listener, 1) == 0);
    handles[0] = ps_socket(stacks[0], PS_INET, PS_STREAM, 0);
    REQUIRE(handles[0] >= 0 && ps_connect(stacks[0], handles[0], &server, 0) == -EINPROGRESS);
    while ((handles[1] = ps_accept(stacks[1], listener, &peer, 0)) == -EAGAIN)
        step(stacks, false);
    REQUIRE(handles[1] >= 0 && peer.bytes[3] == 1);
    while ((ps_ready(stacks[0], handles[0]) & PS_READY_WRITE) == 0)
        step(stacks, false);
    REQUIRE(ps_close(stacks[1], listener) == 0);
    printf("connected\n");
}

static void end_both(ps_stack *const stacks[2], const int64_t handles[2])
{
    uint8_t byte;
    int64_t result;
    REQUIRE(ps_close(stacks[0], handles[0]) == 0);
    while ((result = ps_receive_plain(stacks[1], handles[1], &byte, 1, 0)) == -EAGAIN)
        step(stacks, false);
    REQUIRE(result == 0);
    REQUIRE(ps_close(stacks[1], handles[1]) == 0);
    printf("ended\n");
}

/* A panic is left in the middle of the kernel, and is the one Stack's alone. */
static void fail_one(ps_stack *const stacks[2])
{
    char text[256];
    REQUIRE(ps_stack_fail(stacks[0], "on purpose") < 0);
    REQUIRE(ps_stack_panic_text(stacks[0], text, sizeof text) >= 0);
    REQUIRE(strstr(text, "on purpose") != NULL);
    REQUIRE(ps_socket(stacks[0], PS_INET, PS_STREAM, 0) == -ENOTRECOVERABLE);
    int64_t handle = ps_socket(stacks[1], PS_INET, PS_STREAM, 0);
    REQUIRE(handle >= 0 && ps_close(stacks[1], handle) == 0);
    printf("one has failed, the other has not\n");
}

int main(int count, char **arguments)
{
    const char *name, *release;
    ps_nic *ends[2];
    ps_stack *stacks[2];
    int64_t handles[2];
    REQUIRE(count == 2);
    REQUIRE(ps_nic_wire(MTU, PS_LAYER_ETHERNET, QUEUE_FRAMES, 0, &ends[0], &ends[1]) == 0);
    for (size_t i = 0; i < COUNT(stacks); i++) {
        stacks[i] = open_stack(arguments[1], ends[i], (uint8_t)(i + 1));
        ps_nic_release(ends[i]);
    }
    ps_stack_engine(stacks[0], &name, &release);
    printf("engine %s %s\n", name, release);
    connect_both(stacks, handles);
    exchange(stacks, handles);
    end_both(stacks, handles);
    fail_one(stacks);
    for (size_t i = 0; i < COUNT(stacks); i++) {
        ps_stack_close(stacks[i], false);
        ps_stack_destroy(stacks[i]);
    }
    printf("closed\n");
    return 0;
}
