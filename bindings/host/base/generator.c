/*
 * xoshiro256** (Blackman and Vigna), seeded by splitmix64: fast, and the same everywhere.
 */
#include "base/generator.h"

static inline uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

void generator_seed(struct generator *generator, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t mixed = seed += 0x9e3779b97f4a7c15;
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
        generator->state[i] = mixed ^ mixed >> 31;
    }
}

uint64_t generator_next(struct generator *generator)
{
    uint64_t *s = generator->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

double generator_uniform(struct generator *generator)
{
    return (double)(generator_next(generator) >> 11) * 0x1p-53;
}
