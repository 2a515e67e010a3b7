/* A program on the device, ready to run. */
#ifndef POCKETBERT_LOADED_H
#define POCKETBERT_LOADED_H
#include "opencl/device.h"
#include "opencl/gpu.h"
#include "opencl/kernels.h"

typedef struct {
  const pb_program *program;
  const pb_gpu_program *gpu;
  pb_kernels built;
  cl_kernel *kernels; /* one a launch, with its arguments */
  cl_mem arena;
  cl_mem *weights; /* one a step; NULL where it has none */
  cl_mem *images;
  int32_t **ids;  /* one an input */
  float **results; /* one an output */
  cl_event *events;
  long bytes; /* of all buffers */
} pb_loaded;

/* Builds the program's kernels, or takes them from the folder `kernels` (may be NULL); brings the weights of a source,
   or made-up ones where it is NULL; sets all arguments. Returns 0, or 1 with one line in `error` and nothing loaded. */
int pb_load(pb_loaded *loaded, const pb_device *device, const pb_program *program, const pb_source *weights,
            const char *kernels, char *error, size_t size);

void pb_unload(pb_loaded *loaded, const pb_device *device);

/* One run, enqueued whole and waited for once; `profiled` takes the device's own clock along. Returns as pb_run, with one
   line in `error` on PB_FAILED. */
int pb_go(pb_loaded *loaded, const pb_device *device, const int64_t *const *inputs, float *const *outputs, int profiled,
          char *error, size_t size);

/* Milliseconds of each step in the profiled run before, by the device's own clock; its events are gone then. */
void pb_take_times(pb_loaded *loaded, const pb_device *device, double *step_ms);

#endif
