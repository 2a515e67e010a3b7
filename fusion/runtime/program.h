/* Programs of blocks, as generated code and the runtime share them. */
#ifndef POCKETBERT_PROGRAM_H
#define POCKETBERT_PROGRAM_H
#include "visit.h"
#include <stdatomic.h>

#define PB_MAX_INPUTS 8 /* of a block; the compiler keeps to it */

/* What a kernel reads and writes. `ready` counts finished tiles of each row block (zero again when all are done);
   `scratch` belongs to the thread. `ahead` are `ahead_lines` cache lines of weights that a later step will read: the
   tile's share of what should be on its way to the cache by then. */
typedef struct {
  const void *inputs[PB_MAX_INPUTS];
  float *output;
  const float *weights;
  float *scratch;
  atomic_int *ready;
  const char *ahead;
  long ahead_lines;
} pb_operands;

typedef void (*pb_kernel)(const pb_operands *operands, int tile);

/* One block in a program; offsets are bytes into the arena and into the weights. */
typedef struct pb_step {
  const char *hash;
  pb_kernel kernel;
  int tiles;
  int input_count;
  long inputs[PB_MAX_INPUTS];
  long output;
  long weights;
  long weight_bytes;
} pb_step;

#endif
