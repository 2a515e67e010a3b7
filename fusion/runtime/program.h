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

extern const pb_program pb_programs[];
extern const int pb_program_count;

/* The program of that name, or NULL. */
const pb_program *pb_find_program(const char *name);

/* As pb_open, for the programs of all visits: memory, threads and made-up weights are there once and serve them all;
   a file must hold the weights of each. It is open at the first visit. */
pb_model *pb_open_round(const pb_visit *visits, int count, const char *weights, int threads, char *error, size_t size);

/* Turns a model that was opened for it to a visit: its program, with activations of zero. Nothing may run meanwhile. */
void pb_turn_to(pb_model *model, const pb_visit *visit);

#endif
