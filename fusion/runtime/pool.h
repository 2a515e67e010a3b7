/* A pool of threads that run one function together, with the caller's thread as the first. */
#ifndef POCKETBERT_POOL_H
#define POCKETBERT_POOL_H
#include "pocketbert.h"
#include <pthread.h>
#include <stdatomic.h>

typedef void (*pb_work)(void *context, int thread);

typedef struct {
  pb_work work;
  void *context;
  int threads; /* 0 while it is stopped */
  int started; /* besides the caller's */
  pthread_t workers[PB_MAX_THREADS];
  pthread_mutex_t lock;
  pthread_cond_t wake;
  atomic_int sleepers;
  atomic_int caller_cpu;
  atomic_int stop;
  _Alignas(64) atomic_uint job;
  _Alignas(64) atomic_int tile; /* the next one of the current step */
  _Alignas(64) atomic_int arrived;
  _Alignas(64) atomic_uint phase;
} pb_pool;

/* Starts the threads beside the caller's, from whatever state the pool is in: a forked child's may be any. Returns 0,
   or the system's error number with no thread left running. */
int pb_pool_start(pb_pool *pool, pb_work work, void *context, int threads);

/* Runs the work once on all threads, the caller's as thread 0. */
void pb_pool_run(pb_pool *pool);

/* The next tile of the current step. */
static inline int pb_pool_tile(pb_pool *pool) {
  return atomic_fetch_add_explicit(&pool->tile, 1, memory_order_relaxed);
}

/* All threads of a run meet here; the last one notes the time in `end` and opens the next step. */
void pb_pool_meet(pb_pool *pool, double *end);

/* Processor time of the calling thread and of the pool, milliseconds. */
double pb_pool_cpu_ms(pb_pool *pool);

/* Ends and joins the threads; a pool that never started has none. */
void pb_pool_stop(pb_pool *pool);

#endif
