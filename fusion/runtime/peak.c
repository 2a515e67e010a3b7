/* The micro-kernel alone, all operands in L1 cache: what the machine gives at most. The text before this file defines
   PB_PEAK_TILES(X), one X(rows, vectors, depth) a register tile, and PB_PEAK_REPEATS. */
#include "block.h"

/* Many more tiles of work than threads, so that all threads end a run together. */
#define PEAK_STEPS 120

static float fetch(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(*state >> 8) * (1.0f / (1 << 26));
}

/* The thread's scratch holds c, a and b, in this order; the first pass fills it with numbers that take work. */
#define PEAK(R, V, D)                                                                                                  \
  static void peak_##R##x##V(const pb_operands *o, int tile) {                                                         \
    float *c = o->scratch, *a = c + R * V * PB_LANES, *b = a + R * D;                                                  \
    uint32_t state = 1;                                                                                                \
    (void)tile;                                                                                                        \
    if (b[0] == 0.0f)                                                                                                  \
      for (long i = 0; i < R * D + D * V * PB_LANES; i++) a[i] = fetch(&state) + 1e-3f;                                \
    for (int i = 0; i < PB_PEAK_REPEATS; i++) pb_tile(R, V, 0, a, D, 1, b, V * PB_LANES, c, V * PB_LANES, D);          \
  }                                                                                                                    \
  static const pb_step steps_##R##x##V[] = {{.hash = #R "x" #V, .kernel = peak_##R##x##V, .tiles = PEAK_STEPS}};
PB_PEAK_TILES(PEAK)

#define PROGRAM(R, V, D)                                                                                               \
  {.name = #R "x" #V,                                                                                                  \
   .id = #R "x" #V,                                                                                                    \
   .steps = steps_##R##x##V,                                                                                           \
   .step_count = 1,                                                                                                    \
   .scratch_bytes = (4 * (R * V * PB_LANES + R * D + D * V * PB_LANES) + 63) / 64 * 64},
const pb_program pb_programs[] = {PB_PEAK_TILES(PROGRAM)};
const int pb_program_count = sizeof pb_programs / sizeof *pb_programs;
