/* Which processors the threads of a pool run on: each on one of its own, as long as there are enough. */
#ifndef POCKETBERT_PLACEMENT_H
#define POCKETBERT_PLACEMENT_H
#include "pocketbert.h"
#include <stdatomic.h>

#define PB_KNOWN_PROCESSORS 256

/* Where each thread was seen last, or -1 while it waits for no processor; its number in the system; whether it holds
   work; when it last moved itself. */
typedef struct {
  int threads;
  double moved_ms[PB_MAX_THREADS]; /* each thread's own */
  atomic_int ids[PB_MAX_THREADS];
  atomic_int moving; /* a thread moves itself, or trades with another one */
  atomic_int speeds[PB_KNOWN_PROCESSORS]; /* see speed_of */
  _Alignas(64) atomic_int cpus[PB_MAX_THREADS];
  _Alignas(64) atomic_int busy[PB_MAX_THREADS];
} pb_placement;

/* A look at another thread that holds work: which, and its processor time then. */
typedef struct {
  int thread; /* -1 for none */
  double cpu_ms;
} pb_look;

/* Begins anew, with no thread anywhere, and reads how fast the processors are that the calling thread may use. */
void pb_placement_start(pb_placement *placement, int threads);

/* The calling thread is this one of the pool from now on. */
void pb_placement_enter(pb_placement *placement, int thread);

/* Notes where the calling thread runs. Returns whether another one of the pool was seen there. */
int pb_placement_shared(pb_placement *placement, int thread);

/* The same, and the calling thread goes to a processor that no other one of them has, if it may use such. */
void pb_placement_keep_apart(pb_placement *placement, int thread);

/* Looks at a thread that holds work, the next one after `last` round the pool. */
pb_look pb_placement_look(pb_placement *placement, int thread, int last);

/* Whether that thread, which has work and had time to do it, would be better off with the processor of the calling one,
   which has none: it does not run, or on a slower processor. */
int pb_placement_needs(pb_placement *placement, pb_look look);

/* Begins to move threads; 0 where another one does. Between this and pb_placement_end the run does not return to its
   caller, whose thread may so be moved: see whether it is over, first. */
int pb_placement_begin(pb_placement *placement);

/* The calling thread and another one trade processors, if the other one may use that of the calling thread. */
void pb_placement_trade(pb_placement *placement, int thread, int other);

void pb_placement_end(pb_placement *placement);

/* Returns when nobody moves a thread any more who began before the run was over. */
void pb_placement_settle(pb_placement *placement);

static inline void pb_placement_busy(pb_placement *placement, int thread, int busy) {
  atomic_store_explicit(&placement->busy[thread], busy, memory_order_relaxed);
}

/* The thread needs no processor from now on. */
static inline void pb_placement_leave(pb_placement *placement, int thread) {
  atomic_store_explicit(&placement->cpus[thread], -1, memory_order_relaxed);
}

#endif
