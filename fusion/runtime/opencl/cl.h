/* The part of OpenCL 1.2 that the runtime calls, from the specification: no headers of a vendor are needed to build. */
#ifndef POCKETBERT_CL_H
#define POCKETBERT_CL_H
#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_uint cl_bool;
typedef cl_ulong cl_bitfield;
typedef struct pb_cl_platform *cl_platform_id;
typedef struct pb_cl_device *cl_device_id;
typedef struct pb_cl_context *cl_context;
typedef struct pb_cl_queue *cl_command_queue;
typedef struct pb_cl_memory *cl_mem;
typedef struct pb_cl_program *cl_program;
typedef struct pb_cl_kernel *cl_kernel;
typedef struct pb_cl_event *cl_event;
typedef struct {
  cl_uint order, type;
} cl_image_format;
typedef struct {
  cl_uint type;
  size_t width, height, depth, array_size, row_pitch, slice_pitch;
  cl_uint mip_levels, samples;
  cl_mem buffer;
} cl_image_desc;

enum {
  CL_SUCCESS = 0,
  CL_DEVICE_NOT_FOUND = -1,
  CL_MEM_OBJECT_ALLOCATION_FAILURE = -4,
  CL_OUT_OF_RESOURCES = -5,
  CL_OUT_OF_HOST_MEMORY = -6,
  CL_BUILD_PROGRAM_FAILURE = -11,
  CL_DEVICE_NOT_AVAILABLE = -2,
  CL_FALSE = 0,
  CL_TRUE = 1,
  CL_DEVICE_TYPE_CPU = 1 << 1,
  CL_DEVICE_TYPE_GPU = 1 << 2,
  CL_MEM_READ_WRITE = 1 << 0,
  CL_MEM_READ_ONLY = 1 << 2,
  CL_MEM_COPY_HOST_PTR = 1 << 5,
  CL_QUEUE_PROFILING_ENABLE = 1 << 1,
  CL_DEVICE_TYPE = 0x1000,
  CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
  CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT = 0x103A,
  CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  CL_DEVICE_IMAGE_SUPPORT = 0x1016,
  CL_DEVICE_NAME = 0x102B,
  CL_DEVICE_VENDOR = 0x102C,
  CL_DRIVER_VERSION = 0x102D,
  CL_DEVICE_VERSION = 0x102F,
  CL_DEVICE_IMAGE_MAX_BUFFER_SIZE = 0x1040,
  CL_PROGRAM_BINARY_SIZES = 0x1165,
  CL_PROGRAM_BINARIES = 0x1166,
  CL_PROGRAM_BUILD_LOG = 0x1183,
  CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
  CL_PROFILING_COMMAND_START = 0x1282,
  CL_PROFILING_COMMAND_END = 0x1283,
  CL_RGBA = 0x10B5,
  CL_HALF_FLOAT = 0x10DD,
  CL_FLOAT = 0x10DE,
  CL_MEM_OBJECT_IMAGE1D_BUFFER = 0x10F6
};

/* name, result, arguments */
#define PB_CL_FUNCTIONS(X)                                                                                            \
  X(GetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *))                                                   \
  X(GetDeviceIDs, cl_int, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *))                          \
  X(GetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *))                                         \
  X(CreateContext, cl_context,                                                                                        \
    (const intptr_t *, cl_uint, const cl_device_id *, void (*)(const char *, const void *, size_t, void *), void *,   \
     cl_int *))                                                                                                       \
  X(CreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_bitfield, cl_int *))                          \
  X(CreateBuffer, cl_mem, (cl_context, cl_bitfield, size_t, void *, cl_int *))                                        \
  X(CreateImage, cl_mem,                                                                                              \
    (cl_context, cl_bitfield, const cl_image_format *, const cl_image_desc *, void *, cl_int *))                      \
  X(CreateProgramWithSource, cl_program, (cl_context, cl_uint, const char **, const size_t *, cl_int *))              \
  X(CreateProgramWithBinary, cl_program,                                                                              \
    (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *))          \
  X(BuildProgram, cl_int,                                                                                             \
    (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *), void *))                  \
  X(GetProgramInfo, cl_int, (cl_program, cl_uint, size_t, void *, size_t *))                                          \
  X(GetProgramBuildInfo, cl_int, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                       \
  X(CreateKernel, cl_kernel, (cl_program, const char *, cl_int *))                                                    \
  X(SetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *))                                                 \
  X(GetKernelWorkGroupInfo, cl_int, (cl_kernel, cl_device_id, cl_uint, size_t, void *, size_t *))                     \
  X(EnqueueNDRangeKernel, cl_int,                                                                                     \
    (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint, const cl_event *, \
     cl_event *))                                                                                                     \
  X(EnqueueWriteBuffer, cl_int,                                                                                       \
    (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *, cl_event *))         \
  X(EnqueueReadBuffer, cl_int,                                                                                        \
    (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *))               \
  X(Flush, cl_int, (cl_command_queue))                                                                                \
  X(Finish, cl_int, (cl_command_queue))                                                                               \
  X(GetEventProfilingInfo, cl_int, (cl_event, cl_uint, size_t, void *, size_t *))                                     \
  X(ReleaseEvent, cl_int, (cl_event))                                                                                 \
  X(ReleaseKernel, cl_int, (cl_kernel))                                                                               \
  X(ReleaseProgram, cl_int, (cl_program))                                                                             \
  X(ReleaseMemObject, cl_int, (cl_mem))                                                                               \
  X(ReleaseCommandQueue, cl_int, (cl_command_queue))                                                                  \
  X(ReleaseContext, cl_int, (cl_context))

/* The driver's functions, as they were found in its library. */
typedef struct {
#define PB_CL_MEMBER(name, result, arguments) result(*name) arguments;
  PB_CL_FUNCTIONS(PB_CL_MEMBER)
#undef PB_CL_MEMBER
} pb_cl;

#endif
