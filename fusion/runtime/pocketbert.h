/* Compiled models from C and C++: open a model, run it, close it. Link with model.so and -lpthread; in an app for
   Android with the lib*.so of the exported model alone, which writes nothing to standard output or standard error.

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

#define PB_API_VERSION 1 /* counts changes that programs have to know of; pb_api_version tells the library's */
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

enum { PB_FROM_PATH = 1, PB_FROM_DESCRIPTOR, PB_FROM_MEMORY };

/* Where weights lie that were made for a program: the whole file `path`; `length` bytes from `offset` on of the file
   that is open as `descriptor`, such as an asset that lies in an APK without compression; or `length` bytes of
   `memory`. What does not belong to the `kind` is ignored.
   A file is mapped, not read: processes share it, and nothing is copied, whatever the offset, if it is a multiple of 4
   (zipalign sees to that). At another one, or in memory that begins at no such address, the weights are copied once.
   Multiples of 64 may run a little faster. The file must not be cut or written while the model is open.
   A descriptor stays the caller's, as does its reading position; it may be closed once the model is open. Memory is
   read while the model is open: the caller keeps it until pb_close. On a GPU weights are copied to the device. */
typedef struct {
  int kind;
  const char *path;
  int descriptor;
  int64_t offset;
  const void *memory;
  int64_t length;
} pb_source;

/* PB_API_VERSION of the library; a program that was compiled with another one should not go on. */
PB_API int pb_api_version(void);

/* Opens a program; that of an exported model is called "model". `weights` is a file made for it, or NULL: then they are
   small pseudo-random numbers, and successive runs use copies of them spread over `rotate_bytes`. `threads` is 1 to
   PB_MAX_THREADS, the caller's among them. NULL on error, with one line in `error`, of at most `size` bytes. */
PB_API pb_model *pb_open(const char *program, const char *weights, int threads, long rotate_bytes, char *error,
                         size_t size);

/* The same with weights from any source; NULL is none, and an error. `kernels` is a folder where a GPU's driver leaves
   its compiled kernels for the next start, such as an app's cache: it may be missing, its parent may not; NULL: beside
   the weights of a path, else nowhere. On a processor it is ignored. Opening compares length, version and program of
   the weights, no more: see pb_verify. */
PB_API pb_model *pb_open_from(const char *program, const pb_source *weights, int threads, const char *kernels,
                              char *error, size_t size);

/* Reads all weights and compares their checksum: 0 where they are those that were made for the program, to the last
   bit; else 1, with one line in `error`. For a file that was downloaded, or an error report. */
PB_API int pb_verify(const char *program, const pb_source *weights, char *error, size_t size);

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
