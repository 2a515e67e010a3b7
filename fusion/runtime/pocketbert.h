/* Compiled models from C and C++: open a model, run it, close it. Link with model.so and -lpthread.

   Threads: every function may be called from any thread, and different models run side by side. Calls on one model take
   turns: a run waits for the run before it. `inputs` and `outputs` belong to the caller; calls at the same time need
   arrays of their own. Nothing here may be called from a signal handler.
   Processors: while a call runs, its threads, the caller's among them, may be moved from one processor that they may use
   to another; before it returns, each may use again what it might use before. That is wrong only where another thread
   changes the affinity of one of them in that very moment. A thread that may use one processor only stays there.
   Closing: pb_stop waits for the call that runs; calls that wait for their turn, or come later, get PB_STOPPED. Then
   pb_close frees the model, once; it stops it where that was not done, but no call may come at the same time or later.
   Forks: a forked child may use, and close, the models that its parent had open: a model's first run in the child starts
   threads of the child's own. Neither disturbs the other.
   Memory: what pb_program_of returns, and the names in it, live as long as the library is loaded. */
#ifndef POCKETBERT_H
#define POCKETBERT_H
#include <stddef.h>
#include <stdint.h>

#define PB_MAX_THREADS 64
#define PB_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* What pb_run and pb_time return after pb_stop; and where a GPU's driver failed, of which pb_message tells more. */
enum { PB_STOPPED = -1, PB_FAILED = -2 };

/* A model input (`rows` numbers, each from 0 to below `limit`) or output (`rows` x `columns` fp32 numbers). `stride` and
   `offset` say where it lies in the model's own memory. */
typedef struct {
  const char *name;
  int rows;
  int columns;
  int stride;
  int limit;
  long offset;
} pb_port;

/* A program of a library. There may be any number of inputs and outputs; allocate by the counts that stand here. */
typedef struct {
  const char *name;
  const char *id; /* content hash: a weights file carries the same */
  const struct pb_step *steps;
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

typedef struct pb_model pb_model;

/* Opens a program; that of an exported model is called "model". `weights` is a file made for it, or NULL: then they are
   small pseudo-random numbers, and successive runs use copies of them spread over `rotate_bytes`. `threads` is 1 to
   PB_MAX_THREADS, the caller's among them. NULL on error, with one line in `error`, of at most `size` bytes. */
PB_API pb_model *pb_open(const char *program, const char *weights, int threads, long rotate_bytes, char *error,
                         size_t size);

/* Runs once: `inputs[i]` is the i-th input, int64 [rows]; `outputs[i]` receives fp32 [rows x columns]. Returns 0,
   1 + the index of an input that holds a number outside 0 .. limit-1, PB_STOPPED or PB_FAILED. */
PB_API int pb_run(pb_model *model, const int64_t *const *inputs, float *const *outputs);

/* Warms up, then times `runs` runs, ids in to outputs out, in one turn. `run_ms` receives warmup + runs times,
   `step_ms` runs x step_count. Returns as pb_run. */
PB_API int pb_time(pb_model *model, const int64_t *const *inputs, float *const *outputs, int warmup, int runs,
                   double *run_ms, double *step_ms);

/* Processor time of all the model's threads over (wall time x threads) in the timed runs of the last pb_time; threads
   that wait for each other between steps spin for a moment, and so count. */
PB_API double pb_utilisation(const pb_model *model);

/* Bytes that the open model holds: weights, activations, scratch of all threads, counters. */
PB_API long pb_memory_bytes(const pb_model *model);

/* One line on the last call that returned PB_FAILED; empty before. */
PB_API const char *pb_message(const pb_model *model);

/* The program that the model runs: its inputs and outputs. */
PB_API const pb_program *pb_program_of(const pb_model *model);

/* Ends the model's threads, for good. */
PB_API void pb_stop(pb_model *model);

/* Frees all that the model holds, and ends its threads first; NULL is nothing to close. */
PB_API void pb_close(pb_model *model);

#ifdef __cplusplus
}
#endif
#endif
