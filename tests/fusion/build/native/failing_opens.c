/* Opens a model while the n-th allocation or thread fails, for every n until all succeed; nothing may be left behind.

   Linked with --wrap for the functions below. failing_opens WEIGHTS prints how many opens failed. */
#include "pocketbert.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int left; /* successes until the next failure */

int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *argument);

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
  return left-- ? __real_posix_memalign(memory, alignment, size) : ENOMEM;
}

void *__wrap_malloc(size_t size) { return left-- ? __real_malloc(size) : NULL; }

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *argument) {
  return left-- ? __real_pthread_create(thread, attributes, work, argument) : EAGAIN;
}

int main(int count, char **words) {
  int failed = 0;
  while (count == 2) {
    char error[512] = "";
    left = failed;
    pb_model *model = pb_open("model", words[1], 4, 0, error, sizeof error);
    pb_close(model);
    if (model) break;
    if (!*error) return 1;
    failed++;
  }
  printf("%d\n", failed);
  return 0;
}
