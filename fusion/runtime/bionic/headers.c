/* Android's own headers come with its NDK only: musl's, which zig brings, stand in for them. Sizes and constants of
   musl that get into the compiled runtime are held here to those of bionic on 64-bit ARM and x86-64
   (bits/pthread_types.h, sched.h, dlfcn.h, and the kernel's own headers, which bionic takes over). All else comes by
   name only: locks and conditions by the functions that begin them, since what they hold then is bionic's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SAME(what) _Static_assert(what, "musl's headers are not bionic's here: " #what)

SAME(sizeof(pthread_mutex_t) == 10 * sizeof(int));
SAME(sizeof(pthread_cond_t) == 12 * sizeof(int) && sizeof(pthread_t) == sizeof(long));
SAME(_Alignof(pthread_mutex_t) >= _Alignof(int) && _Alignof(pthread_cond_t) >= _Alignof(int));
SAME(sizeof(cpu_set_t) == 1024 / 8 && CPU_SETSIZE == 1024);
SAME(sizeof(struct timespec) == 16 && sizeof(time_t) == 8 && sizeof(clockid_t) == 4);
SAME(sizeof(off_t) == 8 && sizeof(mode_t) == 4 && sizeof(pid_t) == 4 && sizeof(ssize_t) == 8);
SAME(RTLD_NOW == 2 && RTLD_LOCAL == 0);
SAME(O_RDONLY == 0 && O_CLOEXEC == 02000000 && O_NONBLOCK == 04000);
SAME(PROT_READ == 1 && MAP_PRIVATE == 2 && SEEK_END == 2);
SAME(CLOCK_MONOTONIC == 1 && CLOCK_THREAD_CPUTIME_ID == 3);
SAME(AT_HWCAP == 16);
SAME(AT_HWCAP2 == 26);
#if defined(__aarch64__)
SAME(SYS_futex == 98 && SYS_gettid == 178);
#else
SAME(SYS_futex == 202 && SYS_gettid == 186);
#endif
SAME(EOF == -1);
