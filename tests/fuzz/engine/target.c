/*
 * The target: an interface with both families, sockets that listen, and what the input does to them.
 */
#include "fuzz.h"

#define SOCKETS 8
#define OPERATIONS_MOST 512

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ps_engine_table *table;
static ps_engine *engine;
static uint32_t link_index;
static int64_t sockets[SOCKETS];
static size_t blocks_at_first; /* the loopback interface's, some of which stay to the end */

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    table = image_load();
    world_reset();
    return 0;
}

static void leave(void)
{
    uint64_t deadline_us;
    table->leave(engine, &deadline_us);
}

static struct ps_address address(bool v6, uint8_t host, uint16_t port)
{
    struct ps_address out = {.family = v6 ? PS_INET6 : PS_INET, .port = port};
    if (v6) {
        out.prefix = 64;
        out.bytes[0] = 0xfd;
        out.bytes[15] = host;
    } else {
        out.prefix = 24;
        out.bytes[0] = 10;
        out.bytes[3] = host;
    }
    return out;
}

static void keep(int64_t handle)
{
    if (handle < 0)
        return;
    for (size_t i = 0; i < SOCKETS; i++) {
        if (sockets[i] < 0) {
            sockets[i] = handle;
            return;
        }
    }
    table->socket_close(engine, handle);
}

static void serve(bool v6, enum ps_type type, uint16_t port)
{
    struct ps_address any = {.family = v6 ? PS_INET6 : PS_INET, .port = port};
    int64_t handle = table->socket_open(engine, any.family, type, 0);
    if (handle < 0)
        return;
    table->option_set(engine, handle, PS_OPT_REUSEADDR, 1);
    if (table->socket_bind(engine, handle, &any) == 0 && type == PS_STREAM)
        table->socket_listen(engine, handle, 4);
    keep(handle);
}

static void begin(void)
{
    FUZZ_REQUIRE(table->open(&world_hypercalls, &engine) == 0);
    blocks_at_first = world_live_blocks();
    memset(sockets, 0xff, sizeof sockets);
    struct ps_interface spec = {.mtu = 1500, .flags = PS_IF_UP, .layer = PS_LAYER_ETHERNET};
    memcpy(spec.mac, frames_mac, sizeof spec.mac);
    strcpy(spec.name, "eth0");
    table->enter(engine);
    int index = table->interface_add(engine, &spec);
    FUZZ_REQUIRE(index > 0);
    link_index = (uint32_t)index;
    for (int v6 = 0; v6 < 2; v6++) {
        struct ps_address own = address(v6, 2, 0);
        table->address_add(engine, link_index, &own, false);
        struct ps_neighbour peer = {.interface = link_index,
                                    .address = address(v6, 1, 0),
                                    .mac = {2, 0, 0, 0, 0, 1},
                                    .state = PS_NEIGHBOUR_PERMANENT};
        table->neighbour_add(engine, &peer);
        serve(v6, PS_STREAM, 80);
        serve(v6, PS_DATAGRAM, 7);
    }
    leave();
    world_pass_us(3000000);
    table->enter(engine);
    table->run(engine);
    leave();
}

/* One call on one socket, or on the interface. */
static void call(struct input *input)
{
    static uint8_t room[4096];
    uint8_t what = input_byte(input), which = input_byte(input);
    uint16_t number = input_word(input);
    int64_t *slot = &sockets[which % SOCKETS], handle = *slot;
    struct ps_address to = address(which & 0x80, 1, (uint16_t)(9 + (number & 3)));
    struct ps_piece piece = {.base = room, .size = number % sizeof room};
    static const enum ps_service services[] = {PS_SERVICE_DHCP, PS_SERVICE_DHCP6, PS_SERVICE_SLAAC,
                                               PS_SERVICE_AUTOIP, PS_SERVICE_MDNS};
    switch (what % 12) {
    case 0:
        keep(table->socket_accept(engine, handle, &to));
        break;
    case 1:
        table->socket_receive(engine, handle, &piece, 1, 0, NULL);
        break;
    case 2:
        table->socket_send(engine, handle, &piece, 1, which >> 4 & 0xc, NULL, NULL);
        break;
    case 3:
        table->socket_send(engine, handle, &piece, 1, 0, &to, NULL);
        break;
    case 4:
        if (handle >= 0)
            table->socket_close(engine, handle);
        *slot = -1;
        break;
    case 5:
        table->socket_shutdown(engine, handle, number % 3 + 1);
        break;
    case 6:
        table->option_set(engine, handle, which % PS_OPT_COUNT,
                          number & 0x8000 ? number << 4 : number);
        break;
    case 7: {
        int64_t client = table->socket_open(engine, to.family, PS_STREAM, 0);
        table->socket_connect(engine, client, &to);
        keep(client);
        break;
    }
    case 8:
        table->service_set(engine, link_index, services[number % 5], which & 1, "pystack");
        break;
    case 9:
        table->interface_set_mtu(engine, link_index, number & 1 ? 1280u + number % 221 : 1500u);
        break;
    case 10: {
        struct ps_address server = address(false, 1, 0), found[4];
        table->nameserver_set(engine, 0, &server);
        int64_t request =
            table->resolve_start(engine, "example.test", number % 2 ? PS_INET : PS_INET6);
        if (request >= 0 && which & 1)
            table->resolve_result(engine, request, found, 4);
        break;
    }
    default:
        serve(which & 1, which & 2 ? PS_DATAGRAM : PS_STREAM, (uint16_t)(80 + number % 3));
    }
}

static void operate(struct input *input)
{
    uint8_t frame[FRAME_ROOM], kind = input_byte(input);
    size_t size = 0;
    switch (kind % 5) {
    case 0:
        size = frames_segment(input, frame);
        break;
    case 1:
        size = frames_packet(input, frame);
        break;
    case 2:
        size = frames_raw(input, frame);
        break;
    case 3: {
        uint16_t number = input_word(input);
        world_pass_us(number < 0x8000 ? number * 20 : (uint64_t)(number - 0x8000) * 4000);
        break;
    }
    default:
        table->enter(engine);
        call(input);
        leave();
        return;
    }
    table->enter(engine);
    if (size > 0) {
        /* In a block of its own: a byte too far is seen. */
        uint8_t *exact = malloc(size);
        FUZZ_REQUIRE(exact != NULL);
        memcpy(exact, frame, size);
        table->frame_in(engine, link_index, exact, size);
        free(exact);
    }
    table->run(engine);
    leave();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.next = data, .left = size};
    image_restore();
    frames_reset();
    begin();
    for (unsigned i = 0; i < OPERATIONS_MOST && input.left > 0; i++)
        operate(&input);
    table->enter(engine);
    table->close(engine, size & 1);
    FUZZ_REQUIRE(world_live_blocks() <= blocks_at_first);
    world_free_all();
    return 0;
}
