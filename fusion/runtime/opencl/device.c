/* A device with its queue, in the order of which all is done. */
#include "opencl/device.h"
#include <stdio.h>

int pb_refused(cl_int code, const char *what, char *error, size_t size) {
  if (code == CL_SUCCESS) return 0;
  snprintf(error, size, "%s: %s (%d)", what, pb_cl_error(code), code);
  return 1;
}

int pb_device_open(pb_device *d, char *error, size_t size) {
  cl_int code = CL_SUCCESS;
  *d = (pb_device){0};
  if (pb_driver_find(&d->driver, error, size)) return 1;
  d->context = d->driver.cl.CreateContext(NULL, 1, &d->driver.device, NULL, NULL, &code);
  if (pb_refused(d->context ? CL_SUCCESS : code, "the GPU", error, size)) return 1;
  d->queue = d->driver.cl.CreateCommandQueue(d->context, d->driver.device, CL_QUEUE_PROFILING_ENABLE, &code);
  return pb_refused(d->queue ? CL_SUCCESS : code, "the GPU's queue", error, size);
}

void pb_device_close(pb_device *d) {
  if (d->queue) d->driver.cl.ReleaseCommandQueue(d->queue);
  if (d->context) d->driver.cl.ReleaseContext(d->context);
  *d = (pb_device){0};
}
