/* Which processors the threads of a pool run on: each on one of its own, as long as there are enough. */
#ifndef POCKETBERT_PLACEMENT_H
#define POCKETBERT_PLACEMENT_H
#include "pocketbert.h"
#include <stdatomic.h>

/* Where each thread was seen last, or -1 while it does not run; and when it was moved last. */
typedef struct {
  int threads;
  _Alignas(64) atomic_int cpus[PB_MAX_THREADS];
  double moved_ms[PB_MAX_THREADS]; /* each thread's own */
} pb_placement;

void pb_placement_start(pb_placement *placement, int threads);

/* Notes where the calling thread runs. Returns whether another one of the pool was seen there. */
int pb_placement_shared(pb_placement *placement, int thread);

/* The same, and the calling thread goes to a processor that no other one of them has, if it may use such. */
void pb_placement_keep_apart(pb_placement *placement, int thread);

/* The thread does not run from now on. */
static inline void pb_placement_leave(pb_placement *placement, int thread) {
  atomic_store_explicit(&placement->cpus[thread], -1, memory_order_relaxed);
}

#endif
