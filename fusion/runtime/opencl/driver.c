/* Finding the GPU's driver, which no link can name beforehand: each vendor puts it elsewhere. */
#define _GNU_SOURCE
#include "opencl/driver.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* On Linux by either name; on Android what apps may load, then the vendor's own places and names. */
static const char *const LIBRARIES[] = {
    "libOpenCL.so",
    "libOpenCL.so.1",
    "sphal:libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "libGLES_mali.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "libmali.so",
    "libOpenCL-pixel.so",
    "sphal:libOpenCL-pixel.so",
};

/* A library of the vendor's name space, which plain dlopen does not reach on Android. */
static void *load_vendor_library(const char *name) {
  void *support = dlopen("libvndksupport.so", RTLD_NOW);
  void *(*load)(const char *, int) = NULL;
  if (support) *(void **)&load = dlsym(support, "android_load_sphal_library");
  return load ? load(name, RTLD_NOW) : NULL;
}

static void *load_library(const char *name) {
  if (!strncmp(name, "sphal:", 6)) return load_vendor_library(name + 6);
  return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

/* Pixel phones hand out the driver's functions through one of their own, once another was called. */
typedef void *(*hand_out)(const char *name);

static hand_out enable(void *library) {
  void (*enabled)(void) = NULL;
  hand_out give = NULL;
  *(void **)&enabled = dlsym(library, "enableOpenCL");
  if (!enabled) return NULL;
  enabled();
  *(void **)&give = dlsym(library, "loadOpenCLPointer");
  return give;
}

static void *find_function(void *library, hand_out give, const char *name) {
  void *found = give ? give(name) : NULL;
  return found ? found : dlsym(library, name);
}

/* The driver's functions from a library; the name of the first that it lacks, or NULL. */
static const char *find_functions(void *library, pb_cl *cl) {
  const hand_out give = enable(library);
#define PB_FIND(function, result, arguments)                              \
  *(void **)&cl->function = find_function(library, give, "cl" #function); \
  if (!cl->function) return "cl" #function;
  PB_CL_FUNCTIONS(PB_FIND)
#undef PB_FIND
  return NULL;
}

static void append(char *text, size_t size, const char *format, const char *first, const char *second) {
  const size_t length = strlen(text);
  if (length < size) snprintf(text + length, size - length, format, first, second);
}

/* Loads the first library that has all functions; tells in `tried` what was wrong with the others. */
static int load_driver(pb_driver *driver, char *tried, size_t size) {
  const char *wanted = getenv("POCKETBERT_OPENCL");
  const int count = wanted ? 1 : (int)(sizeof LIBRARIES / sizeof *LIBRARIES);
  tried[0] = 0;
  for (int i = 0; i < count; i++) {
    const char *name = wanted ? wanted : LIBRARIES[i];
    void *library = load_library(name);
    const char *lacks = library ? find_functions(library, &driver->cl) : NULL;
    if (library && !lacks) {
      snprintf(driver->library, sizeof driver->library, "%s", name);
      return 0;
    }
    append(tried, size, lacks ? "%s%s" : "%s%s", i ? ", " : "", name);
    if (lacks) append(tried, size, " (lacks %s%s)", lacks, "");
    if (library) dlclose(library);
  }
  return 1;
}

/* The first device of that type on any platform. */
static cl_device_id find_device(const pb_cl *cl, cl_bitfield type) {
  cl_platform_id platforms[16];
  cl_uint count = 0;
  if (cl->GetPlatformIDs(16, platforms, &count) != CL_SUCCESS) return NULL;
  for (cl_uint i = 0; i < count && i < 16; i++) {
    cl_device_id device = NULL;
    cl_uint found = 0;
    if (cl->GetDeviceIDs(platforms[i], type, 1, &device, &found) == CL_SUCCESS && found) return device;
  }
  return NULL;
}

/* Without what ends a line, so that it stays one. */
static void read_text(const pb_driver *driver, cl_uint what, char *text) {
  text[0] = 0;
  if (driver->cl.GetDeviceInfo(driver->device, what, PB_NAME_BYTES - 1, text, NULL) != CL_SUCCESS) text[0] = 0;
  text[PB_NAME_BYTES - 1] = 0;
  for (char *c = text; *c; c++)
    if (*c == '\n' || *c == '\r') *c = ' ';
}

size_t pb_driver_number(const pb_driver *driver, cl_uint what) {
  union {
    cl_ulong whole;
    unsigned char bytes[sizeof(cl_ulong)];
  } number = {0};
  size_t size = 0;
  if (driver->cl.GetDeviceInfo(driver->device, what, sizeof number, &number, &size) != CL_SUCCESS) return 0;
  return (size_t)number.whole;
}

int pb_driver_find(pb_driver *driver, char *error, size_t size) {
  char tried[512];
  *driver = (pb_driver){0};
  if (load_driver(driver, tried, sizeof tried)) {
    snprintf(error, size, "no OpenCL driver: tried %s", tried);
    return 1;
  }
  driver->device = find_device(&driver->cl, CL_DEVICE_TYPE_GPU);
  if (!driver->device) driver->device = find_device(&driver->cl, CL_DEVICE_TYPE_CPU);
  if (!driver->device) {
    snprintf(error, size, "the OpenCL driver %s has no device", driver->library);
    return 1;
  }
  read_text(driver, CL_DEVICE_NAME, driver->name);
  read_text(driver, CL_DEVICE_VENDOR, driver->vendor);
  read_text(driver, CL_DRIVER_VERSION, driver->driver);
  read_text(driver, CL_DEVICE_VERSION, driver->version);
  return 0;
}

const char *pb_cl_error(cl_int code) {
  switch (code) {
    case CL_DEVICE_NOT_AVAILABLE: return "the device is not available";
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "not enough memory on the device";
    case CL_OUT_OF_RESOURCES: return "out of resources: memory, or a kernel that ran over its time";
    case CL_OUT_OF_HOST_MEMORY: return "not enough memory";
    case CL_BUILD_PROGRAM_FAILURE: return "the driver's compiler failed";
    case -36: return "the device was lost";
    case -54: return "its groups are larger than the device takes";
    case -61: return "its buffers are larger than the device takes";
    default: return "the driver refused";
  }
}

int pb_driver_describe(char *text, size_t size) {
  pb_driver driver;
  if (pb_driver_find(&driver, text, size)) return 1;
  const int processor = (pb_driver_number(&driver, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU) != 0;
  const size_t images = pb_driver_number(&driver, CL_DEVICE_IMAGE_SUPPORT);
  snprintf(text, size,
           "name=%s\nvendor=%s\ndriver=%s\nversion=%s\nlibrary=%s\nprocessor=%d\nwidth=%zu\ngroup=%zu\ntexels=%zu\n"
           "units=%zu\n",
           driver.name, driver.vendor, driver.driver, driver.version, driver.library, processor,
           pb_driver_number(&driver, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT),
           pb_driver_number(&driver, CL_DEVICE_MAX_WORK_GROUP_SIZE),
           images ? pb_driver_number(&driver, CL_DEVICE_IMAGE_MAX_BUFFER_SIZE) : 0,
           pb_driver_number(&driver, CL_DEVICE_MAX_COMPUTE_UNITS));
  return 0;
}
