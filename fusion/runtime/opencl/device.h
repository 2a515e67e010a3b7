/* A device with its queue. */
#ifndef POCKETBERT_DEVICE_H
#define POCKETBERT_DEVICE_H
#include "opencl/driver.h"

typedef struct {
  pb_driver driver;
  cl_context context;
  cl_command_queue queue;
} pb_device;

/* Finds the driver and opens its device. Returns 0, or 1 with one line in `error`. */
int pb_device_open(pb_device *device, char *error, size_t size);

void pb_device_close(pb_device *device);

/* Notes in `error` what the driver refused, unless it did not; 1 where it did. */
int pb_refused(cl_int code, const char *what, char *error, size_t size);

#endif
