/* Placement of a pool's threads: moved where they would share a processor or wait for one, and never pinned. */
#define _GNU_SOURCE
#include "placement.h"
#include "clock.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A thread that the system keeps putting back is left alone for so long. */
#define PB_MOVE_EVERY_MS 2.0
#define PB_UNTOLD 1
#define PB_YIELDS 100 /* then whoever waits sleeps: it may be the one that keeps the other from running */
#define PB_NAP_NS 20000

void pb_placement_enter(pb_placement *placement, int thread) {
  atomic_store_explicit(&placement->ids[thread], (int)syscall(SYS_gettid), memory_order_relaxed);
  pb_placement_shared(placement, thread);
}

static int is_taken(const pb_placement *placement, int thread, int cpu) {
  for (int i = 0; i < placement->threads; i++)
    if (i != thread && atomic_load_explicit(&placement->cpus[i], memory_order_relaxed) == cpu) return 1;
  return 0;
}

static int read_speed(int cpu) {
  const char *names[] = {"cpu_capacity", "cpufreq/cpuinfo_max_freq"};
  for (int i = 0; i < 2; i++) {
    char path[96];
    int speed;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, names[i]);
    FILE *file = fopen(path, "re");
    if (!file) continue;
    const int found = fscanf(file, "%d", &speed);
    fclose(file);
    if (found == 1 && speed > 0) return speed;
  }
  return PB_UNTOLD;
}

/* How fast a processor is beside others of the machine: its capacity, or its highest clock; all alike where nothing is
   told. Read once, at the start where the pool may use it then: a file takes longer to read than a small step. */
static int speed_of(pb_placement *placement, int cpu) {
  if (cpu < 0 || cpu >= PB_KNOWN_PROCESSORS) return PB_UNTOLD;
  int speed = atomic_load_explicit(&placement->speeds[cpu], memory_order_relaxed);
  if (speed) return speed;
  speed = read_speed(cpu);
  atomic_store_explicit(&placement->speeds[cpu], speed, memory_order_relaxed);
  return speed;
}

void pb_placement_start(pb_placement *placement, int threads) {
  placement->threads = threads;
  atomic_store(&placement->moving, 0);
  for (int i = 0; i < PB_MAX_THREADS; i++) {
    placement->moved_ms[i] = 0;
    atomic_store_explicit(&placement->ids[i], 0, memory_order_relaxed);
    pb_placement_busy(placement, i, 0);
    pb_placement_leave(placement, i);
  }
  cpu_set_t all;
  if (threads == 1 || sched_getaffinity(0, sizeof all, &all)) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &all)) speed_of(placement, cpu);
}

int pb_placement_shared(pb_placement *placement, int thread) {
  const int here = sched_getcpu();
  if (atomic_load_explicit(&placement->cpus[thread], memory_order_relaxed) != here)
    atomic_store_explicit(&placement->cpus[thread], here, memory_order_relaxed);
  return here >= 0 && is_taken(placement, thread, here);
}

/* Gives a thread back what it might use before. That alone would bind it to the processors that are on and in its cpuset
   now, when later there are more: a thread that nobody has limited beyond these gets all that will ever be. */
static void give_back(int id, const cpu_set_t *before) {
  cpu_set_t every, now;
  memset(&every, 0xff, sizeof every);
  if (sched_setaffinity(id, sizeof every, &every) || sched_getaffinity(id, sizeof now, &now) || !CPU_EQUAL(&now, before))
    sched_setaffinity(id, sizeof *before, before);
}

/* Moves a thread (0 is the calling one) to a processor if it may use that. One thread at a time does so in a pool: to
   another one it would look as if somebody had pinned the thread. */
static int move_to(int id, int cpu) {
  cpu_set_t before, one;
  if (sched_getaffinity(id, sizeof before, &before) || !CPU_ISSET(cpu, &before)) return 0;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_setaffinity(id, sizeof one, &one)) return 0;
  give_back(id, &before);
  return 1;
}

/* Left alone, the system may keep two threads of a pool on one processor for tens of milliseconds. */
void pb_placement_keep_apart(pb_placement *placement, int thread) {
  if (!pb_placement_shared(placement, thread)) return;
  const double now = pb_now_ms();
  cpu_set_t all;
  if (now - placement->moved_ms[thread] < PB_MOVE_EVERY_MS || sched_getaffinity(0, sizeof all, &all)) return;
  placement->moved_ms[thread] = now;
  int best = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &all) && !is_taken(placement, thread, cpu))
      if (best < 0 || speed_of(placement, cpu) > speed_of(placement, best)) best = cpu;
  if (best < 0 || !pb_placement_begin(placement)) return;
  move_to(0, best);
  pb_placement_shared(placement, thread);
  pb_placement_end(placement);
}

/* Processor time of a thread by its number in the system, which the clock's name is made of; -1 where it has ended, or
   the system does not tell. */
static double cpu_ms_of(int id) {
  struct timespec time;
  const clockid_t clock = (clockid_t)(~(unsigned)id << 3 | 6);
  return clock_gettime(clock, &time) ? -1 : time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

pb_look pb_placement_look(pb_placement *placement, int thread, int last) {
  for (int i = 1; i <= placement->threads; i++) {
    const int other = (last + i) % placement->threads;
    if (other == thread || !atomic_load_explicit(&placement->busy[other], memory_order_relaxed)) continue;
    return (pb_look){other, cpu_ms_of(atomic_load_explicit(&placement->ids[other], memory_order_relaxed))};
  }
  return (pb_look){-1, 0};
}

int pb_placement_needs(pb_placement *placement, pb_look look) {
  if (look.thread < 0 || !atomic_load_explicit(&placement->busy[look.thread], memory_order_relaxed)) return 0;
  const double now = cpu_ms_of(atomic_load_explicit(&placement->ids[look.thread], memory_order_relaxed));
  if (look.cpu_ms >= 0 && now >= 0 && now <= look.cpu_ms) return 1;
  const int there = atomic_load_explicit(&placement->cpus[look.thread], memory_order_relaxed);
  const int speed = speed_of(placement, there);
  return speed != PB_UNTOLD && 2 * speed <= speed_of(placement, sched_getcpu());
}

int pb_placement_begin(pb_placement *placement) {
  const int moving = atomic_exchange(&placement->moving, 1);
  atomic_thread_fence(memory_order_seq_cst);
  return !moving;
}

void pb_placement_trade(pb_placement *placement, int thread, int other) {
  const int here = sched_getcpu(), there = atomic_load_explicit(&placement->cpus[other], memory_order_relaxed);
  if (here < 0 || there < 0 || here == there) return;
  if (!move_to(atomic_load_explicit(&placement->ids[other], memory_order_relaxed), here)) return;
  atomic_store_explicit(&placement->cpus[other], here, memory_order_relaxed);
  move_to(0, there);
  atomic_store_explicit(&placement->cpus[thread], sched_getcpu(), memory_order_relaxed);
}

void pb_placement_end(pb_placement *placement) { atomic_store_explicit(&placement->moving, 0, memory_order_release); }

void pb_placement_settle(pb_placement *placement) {
  const struct timespec nap = {0, PB_NAP_NS};
  atomic_thread_fence(memory_order_seq_cst);
  for (int looks = 0; atomic_load_explicit(&placement->moving, memory_order_acquire); looks++)
    if (looks < PB_YIELDS) sched_yield();
    else nanosleep(&nap, NULL);
}
