/* What a processor gives while it computes as compiled blocks do: its clock, and the bytes that a core reads. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROBE __attribute__((visibility("default")))

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Cycles a second: a chain of multiplications of three cycles each, among them as wide multiply-adds as kernels have. */
PROBE double clock_hz(const long rounds) {
  long x = 3;
  __asm__ volatile("vxorps %%ymm0, %%ymm0, %%ymm0\n\tvxorps %%ymm1, %%ymm1, %%ymm1\n\tvxorps %%ymm2, %%ymm2, %%ymm2\n\t"
                   "vxorps %%ymm3, %%ymm3, %%ymm3\n\tvxorps %%ymm4, %%ymm4, %%ymm4" ::
                       : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4");
  const double begin = now();
  for (long i = 0; i < rounds; i++) {
#ifdef __AVX512F__
    __asm__ volatile("vfmadd231ps %%zmm0,%%zmm0,%%zmm1\n\tvfmadd231ps %%zmm0,%%zmm0,%%zmm2\n\t"
                     "vfmadd231ps %%zmm0,%%zmm0,%%zmm3\n\tvfmadd231ps %%zmm0,%%zmm0,%%zmm4" ::
                         : "xmm1", "xmm2", "xmm3", "xmm4");
#else
    __asm__ volatile("vfmadd231ps %%ymm0,%%ymm0,%%ymm1\n\tvfmadd231ps %%ymm0,%%ymm0,%%ymm2\n\t"
                     "vfmadd231ps %%ymm0,%%ymm0,%%ymm3\n\tvfmadd231ps %%ymm0,%%ymm0,%%ymm4" ::
                         : "xmm1", "xmm2", "xmm3", "xmm4");
#endif
    __asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0" : "+r"(x)::"cc");
  }
  return 12.0 * (double)rounds / (now() - begin);
}

/* Bytes a second that one core reads of `bytes` that it goes through again and again. */
PROBE double read_rate(const long bytes, const long total) {
  typedef int wide __attribute__((vector_size(64), aligned(64)));
  char *memory = aligned_alloc(4096, (size_t)bytes);
  if (!memory) return 0.0;
  memset(memory, 1, (size_t)bytes);
  const long rounds = total / bytes < 1 ? 1 : total / bytes;
  wide a = {0}, b = {0}, c = {0}, d = {0};
  const double begin = now();
  for (long round = 0; round < rounds; round++)
    for (long i = 0; i < bytes; i += 256) {
      a |= *(const wide *)(memory + i), b |= *(const wide *)(memory + i + 64);
      c |= *(const wide *)(memory + i + 128), d |= *(const wide *)(memory + i + 192);
      __asm__ volatile("" ::: "memory");
    }
  const double seconds = now() - begin;
  wide all = a | b | c | d;
  __asm__ volatile("" ::"m"(all));
  free(memory);
  return (double)(rounds * bytes) / seconds;
}
