/* The one function of the library by which Python asks for a driver: models' libraries do not show it. */
#include "opencl/driver.h"

PB_API int pb_describe_gpu(char *text, size_t size);

int pb_describe_gpu(char *text, size_t size) { return pb_driver_describe(text, size); }
