/* The thread pool: a step ends with its last tile, whoever did it. Waiting threads spin for a moment, then sleep. */
#define _GNU_SOURCE
#include "pool.h"
#include "clock.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PB_SPIN_MS 0.05
#define PB_LOOK_MS 0.025 /* a thread that runs uses processor time meanwhile */
#define PB_MOST_LOOKS 40 /* then it sleeps, a millisecond after its last tile */
#define PB_SPINS_BETWEEN_LOOKS 32
#define PB_CALLER 1u
#define PB_WORKERS 2u

typedef struct {
  pb_pool *pool;
  int index;
} worker_start;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static inline unsigned number_of(uint64_t place) { return (unsigned)(place >> 32); }

static inline int has_tile(uint64_t place) { return (uint32_t)place < PB_NO_TILE; }

double pb_pool_cpu_ms(pb_pool *pool) {
  double total = pb_clock_ms(CLOCK_THREAD_CPUTIME_ID);
  clockid_t clock;
  for (int i = 1; i <= pool->started; i++)
    if (!pthread_getcpuclockid(pool->workers[i], &clock)) total += pb_clock_ms(clock);
  return total;
}

/* Wakes up to `most` sleepers after what they wait for was stored. Sequentially consistent, as in fall_asleep: either
   this thread sees that the other is about to sleep, or the other sees that `openings` has changed. */
static void wake(pb_pool *pool, unsigned who, int most) {
  atomic_fetch_add(&pool->openings, 1);
  const int callers = who & PB_CALLER ? atomic_load(&pool->asleep[0]) : 0;
  const int workers = who & PB_WORKERS ? atomic_load(&pool->asleep[1]) : 0;
  if (most > 0 && callers + workers)
    syscall(SYS_futex, &pool->openings, FUTEX_WAKE_BITSET_PRIVATE, most, NULL, NULL, who);
}

/* Opens a step of so many tiles, or ends the run with none. What came before, in this thread and in all that finished
   tiles, is seen by those who take the step's tiles: they acquire what is released here. */
static void open_step(pb_pool *pool, unsigned number, int tiles) {
  atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->next, (uint64_t)number << 32 | (PB_NO_TILE - (uint32_t)tiles), memory_order_release);
}

/* Works on the step of a tile that the thread holds. Until it counts as done the step cannot end: what the thread reads
   of the run belongs to it. The thread that counts the last tile has acquired all others', and opens the next step. */
static void take_part(pb_pool *pool, int thread, uint64_t claim) {
  pb_placement_keep_apart(&pool->placement, thread);
  const pb_tasks *tasks = &pool->tasks;
  const int step = (int)(number_of(claim) - pool->first), tiles = tasks->steps[step].tiles;
  const int tile = (int)((uint32_t)claim - (PB_NO_TILE - (uint32_t)tiles));
  pb_placement_busy(&pool->placement, thread, 1);
  const int count = tasks->work(tasks->context, thread, step, tile);
  pb_placement_busy(&pool->placement, thread, 0);
  if (atomic_fetch_add_explicit(&pool->done, count, memory_order_acq_rel) + count < tiles) return;
  tasks->step_ends[step] = pb_now_ms();
  const int more = step + 1 < tasks->step_count ? tasks->steps[step + 1].tiles : 0;
  open_step(pool, number_of(claim) + 1, more);
  if (more) wake(pool, PB_CALLER | PB_WORKERS, more - 1);
  else wake(pool, PB_CALLER, 1);
}

static int is_over(pb_pool *pool, unsigned number) {
  return number_of(atomic_load_explicit(&pool->next, memory_order_acquire)) != number ||
         atomic_load_explicit(&pool->stop, memory_order_relaxed);
}

static void fall_asleep(pb_pool *pool, int thread, unsigned number) {
  const unsigned openings = atomic_load(&pool->openings);
  atomic_fetch_add(&pool->asleep[thread > 0], 1);
  if (!is_over(pool, number))
    syscall(SYS_futex, &pool->openings, FUTEX_WAIT_BITSET_PRIVATE, openings, NULL, NULL, thread ? PB_WORKERS : PB_CALLER);
  atomic_fetch_sub(&pool->asleep[thread > 0], 1);
}

/* Whether a step other than `number` came within the time, or the pool stopped. */
static int spin(pb_pool *pool, int thread, unsigned number, double ms) {
  const double end = pb_now_ms() + ms;
  while (pb_now_ms() < end && !pb_placement_shared(&pool->placement, thread))
    for (int spins = 0; spins < PB_SPINS_BETWEEN_LOOKS; spins++) {
      if (is_over(pool, number)) return 1;
      relax();
    }
  return is_over(pool, number);
}

/* Gives the processor, which has nothing to do, to a thread that waits for one with a tile in its hands: what others
   compute on this machine takes time from whoever shares a processor with them, but then not from those who wait. */
static int wait_for_others(pb_pool *pool, int thread, unsigned number) {
  pb_placement *placement = &pool->placement;
  pb_look look = {thread, 0};
  for (int looks = 0; looks < PB_MOST_LOOKS; looks++) {
    look = pb_placement_look(placement, thread, look.thread);
    if (look.thread < 0) return 0;
    if (spin(pool, thread, number, PB_LOOK_MS)) return 1;
    if (pb_placement_shared(placement, thread)) return 0;
    if (!pb_placement_needs(placement, look) || !pb_placement_begin(placement)) continue;
    const int over = is_over(pool, number);
    if (!over) pb_placement_trade(placement, thread, look.thread);
    pb_placement_end(placement);
    return over;
  }
  return 0;
}

/* Waits until a step other than `number` is open, or the pool stops: spins for a moment, unless that takes time from
   another thread of the pool, a little longer while others work, then sleeps. */
static void wait_for_step(pb_pool *pool, int thread, unsigned number) {
  if (spin(pool, thread, number, PB_SPIN_MS) || wait_for_others(pool, thread, number)) return;
  pb_placement_leave(&pool->placement, thread);
  while (!is_over(pool, number)) fall_asleep(pool, thread, number);
}

/* Takes part in all steps up to the one before `end`; a worker's end comes when the pool stops. Only those who saw that
   the step has a tile ask for one, so each thread comes too late once a step at most. */
static void run_until(pb_pool *pool, int thread, unsigned end) {
  while (1) {
    uint64_t place = atomic_load_explicit(&pool->next, memory_order_acquire);
    if (has_tile(place)) place = atomic_fetch_add_explicit(&pool->next, 1, memory_order_acquire);
    if (has_tile(place)) take_part(pool, thread, place);
    else if (thread ? atomic_load_explicit(&pool->stop, memory_order_acquire) : number_of(place) == end) return;
    else wait_for_step(pool, thread, number_of(place));
  }
}

static void *worker(void *argument) {
  worker_start start = *(worker_start *)argument;
  free(argument);
  pb_placement_enter(&start.pool->placement, start.index);
  run_until(start.pool, start.index, 0);
  return NULL;
}

void pb_pool_run(pb_pool *pool, pb_tasks tasks) {
  if (!tasks.step_count) return;
  /* Nobody holds a tile, so nobody reads what is written here before the step is open. */
  pool->tasks = tasks;
  pool->first = number_of(atomic_load_explicit(&pool->next, memory_order_acquire)) + 1;
  pb_placement_enter(&pool->placement, 0);
  open_step(pool, pool->first, tasks.steps[0].tiles);
  wake(pool, PB_WORKERS, INT_MAX);
  run_until(pool, 0, pool->first + (unsigned)tasks.step_count);
  pb_placement_settle(&pool->placement);
  pb_placement_leave(&pool->placement, 0);
}

static int start_worker(pb_pool *pool, int index) {
  worker_start *start = malloc(sizeof *start);
  if (!start) return ENOMEM;
  *start = (worker_start){pool, index};
  int failed = pthread_create(&pool->workers[index], NULL, worker, start);
  if (failed) free(start);
  else pool->started = index;
  return failed;
}

int pb_pool_start(pb_pool *pool, int threads) {
  pool->threads = threads;
  pool->started = 0;
  pb_placement_start(&pool->placement, threads);
  atomic_store(&pool->stop, 0);
  atomic_store(&pool->asleep[0], 0);
  atomic_store(&pool->asleep[1], 0);
  open_step(pool, 0, 0);
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
  wake(pool, PB_WORKERS, INT_MAX);
  for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i], NULL);
  pool->started = pool->threads = 0;
}
