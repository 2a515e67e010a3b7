/* A driver's library as Pixel phones have it: it exports none of the driver's functions, but hands them out once it was
   asked to. STAND_IN names the library that has them. */
#include <dlfcn.h>
#include <stdlib.h>

static void *driver;

__attribute__((visibility("default"))) void enableOpenCL(void) { driver = dlopen(getenv("STAND_IN"), RTLD_NOW); }

__attribute__((visibility("default"))) void *loadOpenCLPointer(const char *name) {
  return driver ? dlsym(driver, name) : NULL;
}
