/* Times CLBlast's products of fp32 matrices, at the shapes that the command line names: ROWS INNER COLUMNS ...

   A line each: the least milliseconds of some runs. Its own defaults: nothing is tuned for the device. */
#include "opencl/cl.h"
#include "clock.h"
#include <stdio.h>
#include <stdlib.h>

enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, WARMUP = 3, RUNS = 20, ANY_DEVICE = -1 };

int CLBlastSgemm(int layout, int transpose_a, int transpose_b, size_t m, size_t n, size_t k, float alpha, cl_mem a,
                 size_t a_offset, size_t a_stride, cl_mem b, size_t b_offset, size_t b_stride, float beta, cl_mem c,
                 size_t c_offset, size_t c_stride, cl_command_queue *queue, cl_event *event);
cl_int clGetPlatformIDs(cl_uint, cl_platform_id *, cl_uint *);
cl_int clGetDeviceIDs(cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *);
cl_context clCreateContext(const intptr_t *, cl_uint, const cl_device_id *, void *, void *, cl_int *);
cl_command_queue clCreateCommandQueue(cl_context, cl_device_id, cl_bitfield, cl_int *);
cl_mem clCreateBuffer(cl_context, cl_bitfield, size_t, void *, cl_int *);
cl_int clFinish(cl_command_queue);

static cl_mem filled(cl_context context, size_t numbers) {
  float *values = calloc(numbers, sizeof *values);
  for (size_t i = 0; values && i < numbers; i++) values[i] = (float)(i % 13) * 0.01f;
  cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, numbers * sizeof *values, values, NULL);
  free(values);
  return buffer;
}

static double least_ms(cl_context context, cl_command_queue queue, size_t rows, size_t inner, size_t columns) {
  cl_mem a = filled(context, rows * inner), b = filled(context, inner * columns), c = filled(context, rows * columns);
  double least = 0;
  for (int run = 0; run < WARMUP + RUNS; run++) {
    const double start = pb_now_ms();
    if (CLBlastSgemm(ROW_MAJOR, NOT_TRANSPOSED, NOT_TRANSPOSED, rows, columns, inner, 1, a, 0, inner, b, 0, columns, 0, c,
                     0, columns, &queue, NULL) ||
        clFinish(queue))
      exit(1);
    const double took = pb_now_ms() - start;
    if (run >= WARMUP && (least == 0 || took < least)) least = took;
  }
  return least;
}

int main(int count, char **words) {
  cl_platform_id platform;
  cl_device_id device;
  cl_uint found;
  if (clGetPlatformIDs(1, &platform, &found) || clGetDeviceIDs(platform, (cl_bitfield)ANY_DEVICE, 1, &device, &found)) return 1;
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, NULL);
  for (int i = 1; i + 2 < count; i += 3)
    printf("%f\n", least_ms(context, queue, strtoul(words[i], 0, 10), strtoul(words[i + 1], 0, 10),
                            strtoul(words[i + 2], 0, 10)));
  return 0;
}
