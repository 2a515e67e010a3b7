/* Clocks in milliseconds. */
#ifndef POCKETBERT_CLOCK_H
#define POCKETBERT_CLOCK_H
#include <time.h>

static inline double pb_clock_ms(clockid_t clock) {
  struct timespec t = {0};
  clock_gettime(clock, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static inline double pb_now_ms(void) { return pb_clock_ms(CLOCK_MONOTONIC); }

#endif
