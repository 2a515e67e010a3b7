/* A driver that stands in for a GPU's: it computes nothing, but checks how it is called, and fails where it is told to.

   STAND_IN_LOG names a file to which each call's name goes, a line each, and `error: ...` for a call that is wrong.
   STAND_IN_FAIL is `Function:code`: that function fails. STAND_IN_GROUP, STAND_IN_TEXELS and STAND_IN_BYTES are limits,
   STAND_IN_DRIVER the driver's version. */
#include "opencl/cl.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST_ARGUMENTS 16

struct pb_cl_memory {
  size_t bytes;
  char *data;
};
struct pb_cl_program {
  char *source;
  int built;
};
struct pb_cl_kernel {
  struct pb_cl_program *program;
  int group[2];
  int expected;
  int set[MOST_ARGUMENTS];
};
static int live;

static void note(const char *format, ...) {
  const char *path = getenv("STAND_IN_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  va_list words;
  if (!file) return;
  va_start(words, format);
  vfprintf(file, format, words);
  va_end(words);
  fputc('\n', file);
  fclose(file);
}

/* Notes the call; what it should fail with, or 0. */
static cl_int called(const char *function) {
  const char *wanted = getenv("STAND_IN_FAIL");
  const size_t length = strlen(function);
  note("%s", function);
  return wanted && !strncmp(wanted, function, length) && wanted[length] == ':' ? atoi(wanted + length + 1) : 0;
}

static size_t number(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text ? (size_t)atoll(text) : otherwise;
}

static void *made(size_t bytes) {
  live++;
  return calloc(1, bytes);
}

static cl_int released(void *object, const char *function) {
  cl_int failed = called(function);
  live--;
  note("live %d", live);
  free(object);
  return failed;
}

static void tell(cl_int code, cl_int *error) {
  if (error) *error = code;
}

EXPORT cl_int clGetPlatformIDs(cl_uint count, cl_platform_id *platforms, cl_uint *found) {
  cl_int failed = called("GetPlatformIDs");
  if (failed) return failed;
  if (count) platforms[0] = (cl_platform_id)&live;
  *found = 1;
  return 0;
}

EXPORT cl_int clGetDeviceIDs(cl_platform_id platform, cl_bitfield type, cl_uint count, cl_device_id *devices,
                             cl_uint *found) {
  cl_int failed = called("GetDeviceIDs");
  (void)platform;
  if (failed || !(type & CL_DEVICE_TYPE_GPU)) return failed ? failed : CL_DEVICE_NOT_FOUND;
  if (count) devices[0] = (cl_device_id)&live;
  *found = 1;
  return 0;
}

EXPORT cl_int clGetDeviceInfo(cl_device_id device, cl_uint what, size_t size, void *value, size_t *needed) {
  size_t answer = 0;
  cl_int failed = called("GetDeviceInfo");
  const char *version = getenv("STAND_IN_DRIVER"), *text = NULL;
  (void)device, (void)needed;
  if (failed) return failed;
  if (what == CL_DEVICE_NAME) text = "Stand-in (Adreno 640)";
  if (what == CL_DEVICE_VENDOR) text = "pocketbert's tests";
  if (what == CL_DRIVER_VERSION) text = version ? version : "1";
  if (what == CL_DEVICE_VERSION) text = "OpenCL 1.2";
  if (text) {
    snprintf(value, size, "%s", text);
    return 0;
  }
  if (what == CL_DEVICE_TYPE) answer = CL_DEVICE_TYPE_GPU;
  if (what == CL_DEVICE_MAX_WORK_GROUP_SIZE) answer = number("STAND_IN_GROUP", 256);
  if (what == CL_DEVICE_IMAGE_MAX_BUFFER_SIZE) answer = number("STAND_IN_TEXELS", 65536);
  if (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE) answer = number("STAND_IN_BYTES", (size_t)1 << 30);
  if (what == CL_DEVICE_IMAGE_SUPPORT || what == CL_DEVICE_MAX_COMPUTE_UNITS) answer = 1;
  if (what == CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT) answer = 4;
  memcpy(value, &answer, size < sizeof answer ? size : sizeof answer);
  return 0;
}

EXPORT cl_context clCreateContext(const intptr_t *properties, cl_uint count, const cl_device_id *devices,
                                  void (*notify)(const char *, const void *, size_t, void *), void *data,
                                  cl_int *error) {
  (void)properties, (void)count, (void)devices, (void)notify, (void)data;
  cl_int failed = called("CreateContext");
  tell(failed, error);
  return failed ? NULL : made(1);
}

EXPORT cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device, cl_bitfield flags,
                                             cl_int *error) {
  (void)context, (void)device, (void)flags;
  cl_int failed = called("CreateCommandQueue");
  tell(failed, error);
  return failed ? NULL : made(1);
}

EXPORT cl_mem clCreateBuffer(cl_context context, cl_bitfield flags, size_t bytes, void *from, cl_int *error) {
  (void)context;
  cl_int failed = called("CreateBuffer");
  if (!bytes) note("error: a buffer of nothing");
  tell(failed, error);
  if (failed) return NULL;
  cl_mem memory = made(sizeof *memory);
  *memory = (struct pb_cl_memory){bytes, calloc(1, bytes + 1)};
  if (flags & CL_MEM_COPY_HOST_PTR) memcpy(memory->data, from, bytes);
  return memory;
}

EXPORT cl_mem clCreateImage(cl_context context, cl_bitfield flags, const cl_image_format *format,
                            const cl_image_desc *shape, void *from, cl_int *error) {
  (void)context, (void)flags, (void)from;
  cl_int failed = called("CreateImage");
  const size_t texel = format->type == CL_HALF_FLOAT ? 8 : 16;
  if (shape->type != CL_MEM_OBJECT_IMAGE1D_BUFFER) note("error: an image of another type");
  if (shape->width > number("STAND_IN_TEXELS", 65536)) note("error: an image of %zu texels", shape->width);
  if (shape->width * texel > shape->buffer->bytes) note("error: an image larger than its buffer");
  tell(failed, error);
  return failed ? NULL : made(sizeof(struct pb_cl_memory));
}

static cl_program make_program(const char *source, size_t length) {
  cl_program program = made(sizeof *program);
  program->source = calloc(1, length + 1);
  memcpy(program->source, source, length);
  return program;
}

EXPORT cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts,
                                            const size_t *lengths, cl_int *error) {
  (void)context;
  cl_int failed = called("CreateProgramWithSource");
  if (count != 1) note("error: a program of %u texts", count);
  tell(failed, error);
  return failed ? NULL : make_program(texts[0], lengths[0]);
}

/* Its binaries are sources turned round. */
static void turn(char *text, size_t length) {
  for (size_t i = 0; i < length; i++) text[i] = (char)(text[i] ^ 0x55);
}

EXPORT cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices,
                                            const size_t *sizes, const unsigned char **binaries, cl_int *statuses,
                                            cl_int *error) {
  (void)context, (void)count, (void)devices;
  cl_int failed = called("CreateProgramWithBinary");
  tell(failed, error);
  statuses[0] = failed;
  if (failed) return NULL;
  cl_program program = make_program((const char *)binaries[0], sizes[0]);
  turn(program->source, sizes[0]);
  return program;
}

EXPORT cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                             void (*notify)(cl_program, void *), void *data) {
  (void)count, (void)devices, (void)notify, (void)data;
  cl_int failed = called("BuildProgram");
  if (!strstr(options, "-cl-std=CL1.2")) note("error: built for another language");
  program->built = !failed;
  return failed;
}

EXPORT cl_int clGetProgramInfo(cl_program program, cl_uint what, size_t size, void *value, size_t *needed) {
  (void)size, (void)needed;
  cl_int failed = called("GetProgramInfo");
  const size_t length = strlen(program->source);
  if (failed) return failed;
  if (what == CL_PROGRAM_BINARY_SIZES) *(size_t *)value = length;
  if (what == CL_PROGRAM_BINARIES) {
    char *binary = *(char **)value;
    memcpy(binary, program->source, length);
    turn(binary, length);
  }
  return 0;
}

EXPORT cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_uint what, size_t size, void *value,
                                    size_t *needed) {
  (void)program, (void)device, (void)what, (void)needed;
  snprintf(value, size, "line 7:\nunknown type name 'banana'");
  return called("GetProgramBuildInfo");
}

EXPORT cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error) {
  cl_int failed = called("CreateKernel");
  char wanted[300];
  snprintf(wanted, sizeof wanted, "kernel void %s(", name);
  const char *at = strstr(program->source, wanted), *group = strstr(program->source, "reqd_work_group_size(");
  if (!program->built) note("error: a kernel of a program that is not built");
  if (!at) note("error: no kernel %s", name);
  tell(failed || !at ? (failed ? failed : -46) : 0, error);
  if (failed || !at) return NULL;
  cl_kernel kernel = made(sizeof *kernel);
  kernel->program = program;
  kernel->expected = 1;
  for (const char *c = at; *c != ')'; c++) kernel->expected += *c == ',';
  if (group) sscanf(group, "reqd_work_group_size(%d, %d", &kernel->group[0], &kernel->group[1]);
  return kernel;
}

EXPORT cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value) {
  cl_int failed = called("SetKernelArg");
  if (!value || (size != sizeof(cl_mem) && size != sizeof(int32_t))) note("error: an argument of %zu bytes", size);
  if ((int)index >= kernel->expected) return -49;
  kernel->set[index] = 1;
  return failed;
}

EXPORT cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_uint what, size_t size, void *value,
                                       size_t *needed) {
  (void)kernel, (void)device, (void)what, (void)size, (void)needed;
  *(size_t *)value = number("STAND_IN_GROUP", 256);
  return called("GetKernelWorkGroupInfo");
}

/* Kernels whose source holds the text of STAND_IN_SLOW take a millisecond more. */
static void take_time(const cl_kernel kernel) {
  const char *slow = getenv("STAND_IN_SLOW");
  if (slow && strstr(kernel->program->source, slow)) usleep(1000);
}

EXPORT cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint axes, const size_t *first,
                                     const size_t *items, const size_t *group, cl_uint waits, const cl_event *waited,
                                     cl_event *event) {
  (void)queue, (void)first, (void)waits, (void)waited;
  cl_int failed = called("EnqueueNDRangeKernel");
  for (cl_uint axis = 0; axis < axes; axis++) {
    if (!group[axis] || items[axis] % group[axis]) note("error: %zu items in groups of %zu", items[axis], group[axis]);
    if ((int)group[axis] != kernel->group[axis]) note("error: groups of other sizes than the kernel requires");
  }
  if (group[0] * group[1] > number("STAND_IN_GROUP", 256)) note("error: a group of %zu", group[0] * group[1]);
  for (int i = 0; i < kernel->expected; i++)
    if (!kernel->set[i]) note("error: argument %d was never set", i);
  if (event) *event = failed ? NULL : made(1);
  take_time(kernel);
  return failed;
}

static void check_range(cl_mem memory, size_t offset, size_t bytes) {
  if (offset + bytes > memory->bytes) note("error: bytes %zu to %zu of %zu", offset, offset + bytes, memory->bytes);
}

EXPORT cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem memory, cl_bool wait, size_t offset, size_t bytes,
                                   const void *from, cl_uint waits, const cl_event *waited, cl_event *event) {
  (void)queue, (void)wait, (void)from, (void)waits, (void)waited, (void)event;
  check_range(memory, offset, bytes);
  return called("EnqueueWriteBuffer");
}

EXPORT cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem memory, cl_bool wait, size_t offset, size_t bytes,
                                  void *to, cl_uint waits, const cl_event *waited, cl_event *event) {
  (void)queue, (void)waits, (void)waited, (void)event;
  check_range(memory, offset, bytes);
  if (!wait) note("error: a read that is not waited for");
  memset(to, 0, bytes);
  return called("EnqueueReadBuffer");
}

EXPORT cl_int clFlush(cl_command_queue queue) {
  (void)queue;
  return called("Flush");
}

EXPORT cl_int clFinish(cl_command_queue queue) {
  (void)queue;
  return called("Finish");
}

EXPORT cl_int clGetEventProfilingInfo(cl_event event, cl_uint what, size_t size, void *value, size_t *needed) {
  (void)event, (void)size, (void)needed;
  *(cl_ulong *)value = what == CL_PROFILING_COMMAND_END ? 3000 : 1000;
  return called("GetEventProfilingInfo");
}

EXPORT cl_int clReleaseEvent(cl_event event) { return released(event, "ReleaseEvent"); }
EXPORT cl_int clReleaseKernel(cl_kernel kernel) { return released(kernel, "ReleaseKernel"); }
EXPORT cl_int clReleaseProgram(cl_program program) {
  free(program->source);
  return released(program, "ReleaseProgram");
}
EXPORT cl_int clReleaseMemObject(cl_mem memory) {
  free(memory->data);
  return released(memory, "ReleaseMemObject");
}
EXPORT cl_int clReleaseCommandQueue(cl_command_queue queue) { return released(queue, "ReleaseCommandQueue"); }
EXPORT cl_int clReleaseContext(cl_context context) { return released(context, "ReleaseContext"); }
