/*
 * A libFuzzer target on the engine alone: frames, time and socket calls as input.
 *
 * An input is a list of operations, each a byte that says which and what it needs. Whatever the
 * bytes are, they mean something. Each input meets the image as it was loaded (image.c), so that it
 * does the same whenever it is run.
 */
#ifndef PYSTACK_FUZZ_H
#define PYSTACK_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Says what is wrong and ends the process, which libFuzzer takes for a finding. */
#define FUZZ_REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* --- image.c: the loaded engine, and back to what it was ------------------------------ */

const struct ps_engine_table *image_load(void);
void image_restore(void);

/* --- world.c: what the engine asks for ------------------------------------------------- */

extern const struct ps_hypercalls world_hypercalls;

void world_reset(void);
void world_pass_us(uint64_t microseconds);
size_t world_live_blocks(void);
/* All that the engine has not given back. */
void world_free_all(void);

/* --- input.c: bytes that run out ------------------------------------------------------- */

struct input {
    const uint8_t *next;
    size_t left;
};

uint8_t input_byte(struct input *);
uint16_t input_word(struct input *);
/* At most `most` bytes from the input itself; `*size` says how many. */
const uint8_t *input_bytes(struct input *, size_t most, size_t *size);

/* --- frames.c: packets that get past the checksums ------------------------------------- */

/* Each builds one frame into `frame`, which holds FRAME_ROOM bytes, and returns its size. */
#define FRAME_ROOM 2048
extern const uint8_t frames_mac[6];
size_t frames_raw(struct input *, uint8_t *frame);
size_t frames_packet(struct input *, uint8_t *frame);
size_t frames_segment(struct input *, uint8_t *frame);
/* Learns from what the engine sends what a segment has to say to be taken. */
void frames_sent(const uint8_t *frame, size_t size);
void frames_reset(void);

#endif
