/* The kernels of a program, built for the device, or taken from what an earlier run kept of them. */
#ifndef POCKETBERT_KERNELS_H
#define POCKETBERT_KERNELS_H
#include "opencl/driver.h"
#include "opencl/gpu.h"

typedef struct {
  cl_program *programs; /* one a kernel */
  int count;
  int compiled; /* how many were compiled now, not found */
} pb_kernels;

/* Builds all kernels. Where `cache` is not NULL it names a file: what it holds of the same program, driver and device is
   taken, and what had to be compiled is kept there; a file that is foreign, stale or damaged is made anew, one that
   cannot be written is left out. Returns 0, or 1 with the build log's first lines in `error`. */
int pb_kernels_build(pb_kernels *kernels, const pb_driver *driver, cl_context context, const pb_program *program,
                     const pb_gpu_program *gpu, const char *cache, char *error, size_t size);

void pb_kernels_free(pb_kernels *kernels, const pb_driver *driver);

#endif
