/* The GPU's driver: found at run time, and what it says of its device. */
#ifndef POCKETBERT_DRIVER_H
#define POCKETBERT_DRIVER_H
#include "pocketbert.h"
#include "opencl/cl.h"

#define PB_NAME_BYTES 256

typedef struct {
  pb_cl cl;
  cl_device_id device;
  char library[PB_NAME_BYTES]; /* where the driver was found */
  char name[PB_NAME_BYTES], vendor[PB_NAME_BYTES], driver[PB_NAME_BYTES], version[PB_NAME_BYTES];
} pb_driver;

/* Finds the driver and its first GPU, or else its first processor: the library that POCKETBERT_OPENCL names, or those
   that phones and Linux have, in order. Returns 0, or 1 with one line in `error` that tells what was tried. */
int pb_driver_find(pb_driver *driver, char *error, size_t size);

/* A number that the device tells of itself; 0 where it does not. */
size_t pb_driver_number(const pb_driver *driver, cl_uint what);

/* What an error of the driver means. */
const char *pb_cl_error(cl_int code);

/* Lines `key=value` of the device, for choosing code: name, vendor, driver, version, library, processor (1 where kernels
   run on a processor's cores), width, group, texels, units. Returns as pb_driver_find. */
int pb_driver_describe(char *text, size_t size);

#endif
