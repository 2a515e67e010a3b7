/* The kernels of a program, built for the device, or taken from what earlier runs kept of them. */
#ifndef POCKETBERT_KERNELS_H
#define POCKETBERT_KERNELS_H
#include "opencl/driver.h"
#include "opencl/gpu.h"

typedef struct {
  cl_program *programs; /* one a kernel */
  int count;
} pb_kernels;

/* Builds all kernels. Where `folder` is not NULL, what it holds of the same source, driver and device is taken, and what
   had to be compiled is kept there; a file that is damaged is made anew, one that cannot be written is left out. Returns
   0, or 1 with the build log's first lines in `error`. */
int pb_kernels_build(pb_kernels *kernels, const pb_driver *driver, cl_context context, const pb_gpu_program *gpu,
                     const char *folder, char *error, size_t size);

void pb_kernels_free(pb_kernels *kernels, const pb_driver *driver);

#endif
