/* What bionic's libc.so has and glibc lacks, for libraries for Android in a process of this machine. */
#include <errno.h>

int *__errno(void);
int *__errno(void) { return &errno; }
