/* The thread pool: waiting threads spin for a moment, then sleep; the threads of a run meet between steps. */
#define _GNU_SOURCE
#include "pool.h"
#include "clock.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define PB_SPINS_BEFORE_YIELD 4096
#define PB_SPINS_BEFORE_SLEEP 20000

typedef struct {
  pb_pool *pool;
  int index;
  int cpu; /* where to start, or -1 */
} worker_start;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

double pb_pool_cpu_ms(pb_pool *pool) {
  double total = pb_clock_ms(CLOCK_THREAD_CPUTIME_ID);
  clockid_t clock;
  for (int i = 1; i <= pool->started; i++)
    if (!pthread_getcpuclockid(pool->workers[i], &clock)) total += pb_clock_ms(clock);
  return total;
}

void pb_pool_meet(pb_pool *pool, double *end) {
  unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
    *end = pb_now_ms();
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->tile, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
    return;
  }
  for (int spins = 0; atomic_load_explicit(&pool->phase, memory_order_acquire) == phase; spins++) {
    if (spins < PB_SPINS_BEFORE_YIELD) relax();
    else sched_yield();
  }
}

/* Moves the calling thread to a processor, then lets it go again. Left alone, the system may start all threads of a
   pool on one core, and need tens of milliseconds to notice. */
static void move_to(int cpu) {
  cpu_set_t all, one;
  if (cpu < 0 || sched_getaffinity(0, sizeof all, &all)) return;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (!sched_setaffinity(0, sizeof one, &one)) sched_setaffinity(0, sizeof all, &all);
}

/* The index-th processor that the process may use besides the caller's own, counted round and round; -1 if none. */
static int other_cpu(int index) {
  cpu_set_t all;
  int others[CPU_SETSIZE], count = 0, here = sched_getcpu();
  if (sched_getaffinity(0, sizeof all, &all)) return -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &all) && cpu != here) others[count++] = cpu;
  return count ? others[index % count] : -1;
}

/* A thread that sleeps may be woken on the processor of the one that waits for it; there it would get no time. */
static void leave_caller(pb_pool *pool, int thread) {
  if (sched_getcpu() == atomic_load_explicit(&pool->caller_cpu, memory_order_relaxed)) move_to(other_cpu(thread - 1));
}

/* Waits for a job other than `seen`: spins for some tens of microseconds, then sleeps. */
static unsigned wait_for_job(pb_pool *pool, int thread, unsigned seen) {
  for (int spins = 0; spins < PB_SPINS_BEFORE_SLEEP; spins++) {
    unsigned job = atomic_load_explicit(&pool->job, memory_order_acquire);
    if (job != seen) return job;
    relax();
  }
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  while (atomic_load(&pool->job) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->lock);
  leave_caller(pool, thread);
  return atomic_load(&pool->job);
}

static void *worker(void *argument) {
  worker_start start = *(worker_start *)argument;
  free(argument);
  move_to(start.cpu);
  unsigned seen = 0;
  while (1) {
    seen = wait_for_job(start.pool, start.index, seen);
    if (atomic_load(&start.pool->stop)) return NULL;
    start.pool->work(start.pool->context, start.index);
  }
}

static void start_job(pb_pool *pool) {
  atomic_store_explicit(&pool->caller_cpu, sched_getcpu(), memory_order_relaxed);
  atomic_fetch_add(&pool->job, 1);
  if (atomic_load(&pool->sleepers)) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
  }
}

void pb_pool_run(pb_pool *pool) {
  if (pool->started) start_job(pool);
  pool->work(pool->context, 0);
}

static int start_worker(pb_pool *pool, int index) {
  worker_start *start = malloc(sizeof *start);
  if (!start) return ENOMEM;
  *start = (worker_start){pool, index, other_cpu(index - 1)};
  int failed = pthread_create(&pool->workers[index], NULL, worker, start);
  if (failed) free(start);
  else pool->started = index;
  return failed;
}

int pb_pool_start(pb_pool *pool, pb_work work, void *context, int threads) {
  pool->work = work;
  pool->context = context;
  pool->threads = threads;
  pool->started = 0;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  atomic_store(&pool->sleepers, 0);
  atomic_store(&pool->stop, 0);
  atomic_store(&pool->job, 0);
  atomic_store(&pool->tile, 0);
  atomic_store(&pool->arrived, 0);
  for (int i = 1; i < threads; i++) {
    int failed = start_worker(pool, i);
    if (failed) {
      pb_pool_stop(pool);
      return failed;
    }
  }
  return 0;
}

void pb_pool_stop(pb_pool *pool) {
  if (!pool->threads) return;
  atomic_store(&pool->stop, 1);
  if (pool->started) start_job(pool);
  for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i], NULL);
  pool->started = pool->threads = 0;
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
}
