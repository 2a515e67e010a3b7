/* Building kernels takes a driver's compiler seconds; its binaries are kept, one file a kernel. */
#define _GNU_SOURCE
#include "opencl/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PB_OPTIONS "-cl-std=CL1.2 -cl-mad-enable"
#define PB_STAMP_BYTES 1024
#define PB_MOST_BINARY (64u << 20)
#define PB_LOG_BYTES (1 << 14)

/* FNV-1a, 64 bits. */
static uint64_t digest(const void *bytes, size_t count) {
  const unsigned char *at = bytes;
  uint64_t state = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < count; i++) state = (state ^ at[i]) * 0x100000001b3ull;
  return state;
}

/* Of which source a binary is, and for which driver. */
static void write_stamp(char *stamp, const pb_driver *driver, const pb_kernel *kernel) {
  memset(stamp, 0, PB_STAMP_BYTES);
  const size_t length = strlen(kernel->source);
  snprintf(stamp, PB_STAMP_BYTES, "PBKERNEL2\n%s\n%zu %016llx\n%s\n%s\n%s\n%s\n%s\n", kernel->name, length,
           (unsigned long long)digest(kernel->source, length), driver->name, driver->vendor, driver->driver,
           driver->version, PB_OPTIONS);
}

/* The binary's file in the folder, for free(); NULL without a folder. */
static char *path_of(const char *folder, const pb_kernel *kernel, const char *stamp) {
  char *path = NULL;
  if (!folder || asprintf(&path, "%s/%s-%016llx", folder, kernel->name,
                          (unsigned long long)digest(stamp, PB_STAMP_BYTES)) < 0)
    return NULL;
  return path;
}

typedef struct {
  char stamp[PB_STAMP_BYTES];
  uint64_t size;
  uint64_t digest;
} entry_head;

/* The binary that a file holds, or NULL where there is none, it has another stamp, is cut short or damaged. */
static unsigned char *read_entry(const char *path, const char *stamp, size_t *size) {
  entry_head head;
  FILE *file = path ? fopen(path, "rbe") : NULL;
  unsigned char *bytes = NULL;
  if (!file) return NULL;
  if (fread(&head, sizeof head, 1, file) == 1 && !memcmp(head.stamp, stamp, PB_STAMP_BYTES) && head.size &&
      head.size <= PB_MOST_BINARY)
    bytes = malloc(head.size);
  if (bytes && (fread(bytes, 1, head.size, file) != head.size || fgetc(file) != EOF ||
                digest(bytes, head.size) != head.digest)) {
    free(bytes);
    bytes = NULL;
  }
  fclose(file);
  *size = bytes ? head.size : 0;
  return bytes;
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

/* The program's binary, for free(), or NULL. Some drivers have it only when a kernel was made of the program. */
static unsigned char *binary_of(const pb_driver *d, cl_program program, const char *name, size_t *size) {
  cl_int code = CL_SUCCESS;
  cl_kernel kernel = d->cl.CreateKernel(program, name, &code);
  if (d->cl.GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof *size, size, NULL) != CL_SUCCESS) *size = 0;
  unsigned char *bytes = *size && *size <= PB_MOST_BINARY ? malloc(*size) : NULL;
  if (bytes && d->cl.GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL) != CL_SUCCESS) {
    free(bytes);
    bytes = NULL;
  }
  if (kernel) d->cl.ReleaseKernel(kernel);
  return bytes;
}

static int write_entry(const char *path, const char *stamp, const unsigned char *bytes, size_t size) {
  entry_head head = {.size = size, .digest = digest(bytes, size)};
  memcpy(head.stamp, stamp, PB_STAMP_BYTES);
  FILE *file = fopen(path, "wbe");
  int done = file && fwrite(&head, sizeof head, 1, file) == 1 && fwrite(bytes, 1, size, file) == size;
  if (file && fclose(file)) done = 0;
  return done;
}

/* The file appears whole or not at all; whatever goes wrong costs the next start its time, nothing else. */
static void keep(const pb_driver *d, cl_program program, const char *name, const char *path, const char *stamp) {
  size_t size = 0;
  char *partial = NULL;
  unsigned char *bytes = path ? binary_of(d, program, name, &size) : NULL;
  if (!bytes) return;
  if (asprintf(&partial, "%s.%d", path, (int)getpid()) >= 0) {
    if (!write_entry(partial, stamp, bytes, size) || rename(partial, path)) unlink(partial);
    free(partial);
  }
  free(bytes);
}

static cl_program build(const pb_driver *d, cl_context context, const pb_kernel *kernel, const char *folder, char *error,
                        size_t error_size) {
  char stamp[PB_STAMP_BYTES];
  size_t size = 0;
  write_stamp(stamp, d, kernel);
  char *path = path_of(folder, kernel, stamp);
  unsigned char *bytes = read_entry(path, stamp, &size);
  cl_program built = bytes ? from_binary(d, context, bytes, size) : NULL;
  if (!built) {
    built = from_source(d, context, kernel, error, error_size);
    if (built) keep(d, built, kernel->name, path, stamp);
  }
  free(bytes);
  free(path);
  return built;
}

int pb_kernels_build(pb_kernels *kernels, const pb_driver *d, cl_context context, const pb_gpu_program *gpu,
                     const char *folder, char *error, size_t size) {
  *kernels = (pb_kernels){calloc((size_t)gpu->kernel_count + 1, sizeof(cl_program)), 0};
  if (!kernels->programs) {
    snprintf(error, size, "not enough memory");
    return 1;
  }
  if (folder) mkdir(folder, 0777); /* where it cannot be made, nothing is kept */
  for (; kernels->count < gpu->kernel_count; kernels->count++) {
    cl_program built = build(d, context, &gpu->kernels[kernels->count], folder, error, size);
    if (!built) return 1;
    kernels->programs[kernels->count] = built;
  }
  return 0;
}

void pb_kernels_free(pb_kernels *kernels, const pb_driver *d) {
  for (int i = 0; i < kernels->count; i++) d->cl.ReleaseProgram(kernels->programs[i]);
  free(kernels->programs);
  *kernels = (pb_kernels){0};
}
