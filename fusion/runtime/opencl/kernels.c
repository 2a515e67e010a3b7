/* Building kernels takes a driver's compiler seconds; its binaries are kept in one file a model, beside its weights. */
#define _GNU_SOURCE
#include "opencl/kernels.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PB_OPTIONS "-cl-std=CL1.2 -cl-mad-enable"
#define PB_STAMP_BYTES 1024
#define PB_MOST_BINARY (64u << 20)
#define PB_LOG_BYTES (1 << 14)

/* Which program the binaries are of, and which driver they are for. */
static void write_stamp(char *stamp, const pb_driver *driver, const pb_program *program) {
  memset(stamp, 0, PB_STAMP_BYTES);
  snprintf(stamp, PB_STAMP_BYTES, "PBKERNEL1\n%s\n%s\n%s\n%s\n%s\n%s\n", program->id, driver->name, driver->vendor,
           driver->driver, driver->version, PB_OPTIONS);
}

/* FNV-1a, 64 bits. */
static uint64_t digest(uint64_t state, const void *bytes, size_t count) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < count; i++) state = (state ^ at[i]) * 0x100000001b3ull;
  return state;
}
#define PB_FNV_START 0xcbf29ce484222325ull

typedef struct {
  uint64_t size;
  uint64_t digest;
} entry_head;

/* The next binary of the file, or NULL where it is cut short or damaged. */
static unsigned char *read_entry(FILE *file, size_t *size) {
  entry_head head;
  if (fread(&head, sizeof head, 1, file) != 1 || !head.size || head.size > PB_MOST_BINARY) return NULL;
  unsigned char *bytes = malloc(head.size);
  if (!bytes) return NULL;
  if (fread(bytes, 1, head.size, file) == head.size && digest(PB_FNV_START, bytes, head.size) == head.digest) {
    *size = head.size;
    return bytes;
  }
  free(bytes);
  return NULL;
}

/* The file behind its stamp, or NULL where it is not of this program and driver. */
static FILE *open_cache(const char *path, const char *stamp) {
  char found[PB_STAMP_BYTES];
  FILE *file = path ? fopen(path, "rbe") : NULL;
  if (file && (fread(found, sizeof found, 1, file) != 1 || memcmp(found, stamp, sizeof found))) {
    fclose(file);
    return NULL;
  }
  return file;
}

static cl_program from_binary(const pb_driver *d, cl_context context, const unsigned char *bytes, size_t size) {
  cl_int status = CL_SUCCESS, code = CL_SUCCESS;
  cl_program program = d->cl.CreateProgramWithBinary(context, 1, &d->device, &size, &bytes, &status, &code);
  if (!program) return NULL;
  if (code == CL_SUCCESS && status == CL_SUCCESS &&
      d->cl.BuildProgram(program, 1, &d->device, PB_OPTIONS, NULL, NULL) == CL_SUCCESS)
    return program;
  d->cl.ReleaseProgram(program);
  return NULL;
}

static void tell_log(const pb_driver *d, cl_program program, const pb_kernel *kernel, cl_int code, char *error,
                     size_t size) {
  char *log = calloc(1, PB_LOG_BYTES);
  if (log && program)
    d->cl.GetProgramBuildInfo(program, d->device, CL_PROGRAM_BUILD_LOG, PB_LOG_BYTES - 1, log, NULL);
  for (char *c = log; c && *c; c++)
    if (*c == '\n' || *c == '\r') *c = ' ';
  snprintf(error, size, "kernel %s cannot be built: %s (%d): %s", kernel->name, pb_cl_error(code), code,
           log && *log ? log : "the driver says nothing more");
  free(log);
}

static cl_program from_source(const pb_driver *d, cl_context context, const pb_kernel *kernel, char *error,
                              size_t size) {
  cl_int code = CL_SUCCESS;
  const char *text = kernel->source;
  const size_t length = strlen(text);
  cl_program program = d->cl.CreateProgramWithSource(context, 1, &text, &length, &code);
  if (program) code = d->cl.BuildProgram(program, 1, &d->device, PB_OPTIONS, NULL, NULL);
  if (program && code == CL_SUCCESS) return program;
  tell_log(d, program, kernel, code, error, size);
  if (program) d->cl.ReleaseProgram(program);
  return NULL;
}

/* Writes one binary behind the others. Some drivers have it only when a kernel was made of the program. */
static int write_entry(FILE *file, const pb_driver *d, cl_program program, const char *name) {
  size_t size = 0;
  cl_int code = CL_SUCCESS;
  cl_kernel kernel = d->cl.CreateKernel(program, name, &code);
  if (d->cl.GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS) size = 0;
  unsigned char *bytes = size && size <= PB_MOST_BINARY ? malloc(size) : NULL;
  int done = bytes && d->cl.GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL) == CL_SUCCESS;
  if (done) {
    const entry_head head = {size, digest(PB_FNV_START, bytes, size)};
    done = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(bytes, 1, size, file) == size;
  }
  free(bytes);
  if (kernel) d->cl.ReleaseKernel(kernel);
  return done;
}

/* The file appears whole or not at all; whatever goes wrong costs the next start its time, nothing else. */
static void keep(const pb_kernels *kernels, const pb_driver *d, const pb_gpu_program *gpu, const char *path,
                 const char *stamp) {
  char *partial = NULL;
  if (asprintf(&partial, "%s.%d", path, (int)getpid()) < 0) return;
  FILE *file = fopen(partial, "wbe");
  int done = file && fwrite(stamp, PB_STAMP_BYTES, 1, file) == 1;
  for (int i = 0; done && i < kernels->count; i++)
    done = write_entry(file, d, kernels->programs[i], gpu->kernels[i].name);
  if (file && fclose(file)) done = 0;
  if (!done || rename(partial, path)) unlink(partial);
  free(partial);
}

int pb_kernels_build(pb_kernels *kernels, const pb_driver *d, cl_context context, const pb_program *program,
                     const pb_gpu_program *gpu, const char *cache, char *error, size_t size) {
  char stamp[PB_STAMP_BYTES];
  *kernels = (pb_kernels){calloc((size_t)gpu->kernel_count + 1, sizeof(cl_program)), 0, 0};
  if (!kernels->programs) {
    snprintf(error, size, "not enough memory");
    return 1;
  }
  write_stamp(stamp, d, program);
  FILE *file = open_cache(cache, stamp);
  for (int i = 0; i < gpu->kernel_count; i++) {
    size_t length = 0;
    unsigned char *bytes = file ? read_entry(file, &length) : NULL;
    cl_program built = bytes ? from_binary(d, context, bytes, length) : NULL;
    if (!built) {
      built = from_source(d, context, &gpu->kernels[i], error, size);
      kernels->compiled++;
    }
    free(bytes);
    if (!built) break;
    kernels->programs[kernels->count++] = built;
  }
  if (file) fclose(file);
  if (kernels->count < gpu->kernel_count) return 1;
  if (cache && kernels->compiled) keep(kernels, d, gpu, cache, stamp);
  return 0;
}

void pb_kernels_free(pb_kernels *kernels, const pb_driver *d) {
  for (int i = 0; i < kernels->count; i++) d->cl.ReleaseProgram(kernels->programs[i]);
  free(kernels->programs);
  *kernels = (pb_kernels){0};
}
