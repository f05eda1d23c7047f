/*
 * A small seeded generator (xoshiro256**): a seeded Stack's randomness, and impairment.
 */
#ifndef PYSTACK_HOST_GENERATOR_H
#define PYSTACK_HOST_GENERATOR_H

#include <stdint.h>

struct generator {
    uint64_t state[4];
};
void generator_seed(struct generator *generator, uint64_t seed);
uint64_t generator_next(struct generator *generator);
double generator_uniform(struct generator *generator); /* [0, 1) */

#endif
