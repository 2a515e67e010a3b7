/* Placement of a pool's threads: moved where they would share a processor, and never pinned. */
#define _GNU_SOURCE
#include "placement.h"
#include "clock.h"
#include <sched.h>
#include <stdio.h>

/* A thread that the system keeps putting back is left alone for so long. */
#define PB_MOVE_EVERY_MS 2.0

void pb_placement_start(pb_placement *placement, int threads) {
  placement->threads = threads;
  for (int i = 0; i < PB_MAX_THREADS; i++) {
    atomic_store_explicit(&placement->cpus[i], -1, memory_order_relaxed);
    placement->moved_ms[i] = 0;
  }
}

static int is_taken(const pb_placement *placement, int thread, int cpu) {
  for (int i = 0; i < placement->threads; i++)
    if (i != thread && atomic_load_explicit(&placement->cpus[i], memory_order_relaxed) == cpu) return 1;
  return 0;
}

/* How fast a processor is beside others of the machine: its capacity, its highest clock, or 0 where nothing is told. */
static long speed_of(int cpu) {
  const char *names[] = {"cpu_capacity", "cpufreq/cpuinfo_max_freq"};
  for (int i = 0; i < 2; i++) {
    char path[96];
    long speed = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, names[i]);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    const int found = fscanf(file, "%ld", &speed);
    fclose(file);
    if (found == 1) return speed;
  }
  return 0;
}

int pb_placement_shared(pb_placement *placement, int thread) {
  const int here = sched_getcpu();
  if (atomic_load_explicit(&placement->cpus[thread], memory_order_relaxed) != here)
    atomic_store_explicit(&placement->cpus[thread], here, memory_order_relaxed);
  return here >= 0 && is_taken(placement, thread, here);
}

/* Left alone, the system may keep two threads of a pool on one processor for tens of milliseconds. */
void pb_placement_keep_apart(pb_placement *placement, int thread) {
  if (!pb_placement_shared(placement, thread)) return;
  const double now = pb_now_ms();
  cpu_set_t all, one;
  if (now - placement->moved_ms[thread] < PB_MOVE_EVERY_MS || sched_getaffinity(0, sizeof all, &all)) return;
  placement->moved_ms[thread] = now;
  int best = -1;
  long speed = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &all) || is_taken(placement, thread, cpu)) continue;
    if (speed_of(cpu) > speed) speed = speed_of(best = cpu);
  }
  if (best < 0) return;
  CPU_ZERO(&one);
  CPU_SET(best, &one);
  if (!sched_setaffinity(0, sizeof one, &one)) sched_setaffinity(0, sizeof all, &all);
  pb_placement_shared(placement, thread);
}
