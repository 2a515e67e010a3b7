/* A pool of threads that run the steps of a program together, with the caller's thread as the first. */
#ifndef POCKETBERT_POOL_H
#define POCKETBERT_POOL_H
#include "placement.h"
#include "program.h"
#include <pthread.h>
#include <stdatomic.h>

#define PB_NO_TILE (1u << 31)

/* Runs `tile` of a step, then others as pb_pool_next gives them; returns how many it ran. */
typedef int (*pb_work)(void *context, int thread, int step, int tile);

/* A run: all tiles of a step before the first one of the next. */
typedef struct {
  const pb_step *steps;
  int step_count;
  pb_work work;
  void *context;
  double *step_ends; /* receives milliseconds, one a step */
} pb_tasks;

typedef struct {
  int threads; /* 0 while it is stopped */
  int started; /* besides the caller's */
  pthread_t workers[PB_MAX_THREADS];
  pb_placement placement;
  atomic_int stop;
  pb_tasks tasks; /* of the run, and the number of its first step: read by those who hold one of its tiles */
  unsigned first;
  /* Steps are numbered through all runs. The upper half is the open step's number, the lower half counts its tiles up
     to 2^31, where none is left; between two runs it stands there. */
  _Alignas(64) _Atomic uint64_t next;
  _Alignas(64) atomic_int done; /* tiles of the open step */
  _Alignas(64) atomic_uint openings; /* a futex: so many steps were opened or ended a run */
  atomic_int asleep[2]; /* the caller; the workers */
} pb_pool;

/* Starts the threads beside the caller's, from whatever state the pool is in: a forked child's may be any. Returns 0,
   or the system's error number with no thread left running. */
int pb_pool_start(pb_pool *pool, int threads);

/* Runs all steps once. Returns when the last tile is done, whoever did it and whether all threads came or not. */
void pb_pool_run(pb_pool *pool, pb_tasks tasks);

/* Another tile of the step that the caller is in, which has so many; no smaller number when none is left. Whoever comes
   too late adds one to the count all the same, and only once, for then it waits for the next step: never 2^31 of them. */
static inline int pb_pool_next(pb_pool *pool, int tiles) {
  const uint64_t claim = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
  return (int)((uint32_t)claim - (PB_NO_TILE - (uint32_t)tiles));
}

/* Processor time of the calling thread and of the pool, milliseconds. */
double pb_pool_cpu_ms(pb_pool *pool);

/* Ends and joins the threads; a pool that never started has none. */
void pb_pool_stop(pb_pool *pool);

#endif
