/* musl's errno.h, but bionic has another function behind the word. */
#ifndef POCKETBERT_BIONIC_ERRNO_H
#define POCKETBERT_BIONIC_ERRNO_H
#include_next <errno.h>

#undef errno
#define errno (*__errno())
int *__errno(void);

#endif
