/* Programs of kernels, as generated code and the GPU's runtime share them. */
#ifndef POCKETBERT_GPU_H
#define POCKETBERT_GPU_H
#include "visit.h"

#define PB_MAX_INPUTS 8 /* of a block; the compiler keeps to it */

/* One program of OpenCL with one kernel; `image` says that it reads the block's matrix as an image as well. */
typedef struct {
  const char *name;
  const char *source;
  int image;
} pb_kernel;

/* One kernel of a step: `items` work-items in groups of `group`. */
typedef struct {
  int kernel; /* its place in the list */
  size_t items[2];
  size_t group[2];
} pb_launch;

/* One block in a program; offsets are bytes into the arena and into the weights. The first `matrix_bytes` of its weights
   are what kernels read as an image. */
struct pb_step {
  const char *hash;
  int first_launch;
  int launch_count;
  int input_count;
  long inputs[PB_MAX_INPUTS];
  long output;
  long weights;
  long weight_bytes;
  long matrix_bytes;
};

/* What a GPU needs to know beside the program itself: its kernels, and what they do to numbers. */
typedef struct {
  const pb_kernel *kernels;
  int kernel_count;
  const pb_launch *launches;
  int launch_count;
  int number_bytes; /* of matrices and tables: 4 of fp32, 2 of half */
  int flush_every;  /* after so many launches what is enqueued is handed to the device; 0: at the end */
} pb_gpu_program;

extern const pb_gpu_program pb_gpu_programs[];

#endif
