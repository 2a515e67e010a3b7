/* The runtime that compiled models link with: programs of blocks, run by a pool of threads. */
#ifndef POCKETBERT_H
#define POCKETBERT_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PB_MAX_INPUTS 8
#define PB_MAX_THREADS 64

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
typedef struct {
  const char *hash;
  pb_kernel kernel;
  int tiles;
  int input_count;
  long inputs[PB_MAX_INPUTS];
  long output;
  long weights;
  long weight_bytes;
} pb_step;

/* A model input (int32 ids in the arena, each below `limit`) or output (rows of fp32, `stride` elements apart). */
typedef struct {
  const char *name;
  int rows;
  int columns;
  int stride;
  int limit;
  long offset;
} pb_port;

typedef struct {
  const char *name;
  const char *id; /* content hash: a weights file carries the same */
  const pb_step *steps;
  int step_count;
  const pb_port *inputs;
  int input_count;
  const pb_port *outputs;
  int output_count;
  long arena_bytes;
  long weight_bytes;
  long scratch_bytes;
  int ready_count;
} pb_program;

extern const pb_program pb_programs[];
extern const int pb_program_count;

typedef struct pb_model pb_model;

/* Opens a program. `weights` is a file made for it, or NULL: then weights and inputs are filled with small
   pseudo-random numbers, and successive runs use copies of the weights spread over `rotate_bytes`. NULL on error,
   with one line in `error`. */
pb_model *pb_open(const char *program, const char *weights, int threads, long rotate_bytes, char *error, size_t size);

/* Runs once: `inputs[i]` is the i-th input, int64 [rows]; `outputs[i]` receives fp32 [rows x columns]. Returns 0, or
   1 + the index of an input that holds a number outside 0 .. limit-1. */
int pb_run(pb_model *model, const int64_t *const *inputs, float *const *outputs);

/* Warms up, then times `runs` runs, ids in to outputs out. `run_ms` receives warmup + runs times, `step_ms`
   runs x step_count. Returns as pb_run. */
int pb_time(pb_model *model, const int64_t *const *inputs, float *const *outputs, int warmup, int runs, double *run_ms,
            double *step_ms);

/* Processor time of all the model's threads over (wall time x threads) in the timed runs of the last pb_time; threads
   that wait for each other between steps spin, and so count. */
double pb_utilisation(const pb_model *model);

/* Bytes that the open model holds: weights, activations, scratch of all threads, counters. */
long pb_memory_bytes(const pb_model *model);

const pb_program *pb_program_of(const pb_model *model);
void pb_close(pb_model *model);

#endif
