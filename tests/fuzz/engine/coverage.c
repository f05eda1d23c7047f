/* In the engine's image, when it is built for fuzzing: where the counters of coverage lie. */
#include <stdint.h>

extern uint8_t __start___sancov_cntrs[], __stop___sancov_cntrs[];
__attribute__((visibility("default"))) extern uint8_t *const fuzz_counters[2];
uint8_t *const fuzz_counters[2] = {__start___sancov_cntrs, __stop___sancov_cntrs};
