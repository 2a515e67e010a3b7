/* A thread moves itself while another one trades processors with it; prints how many processors it may use at the end,
   and whether it is thought to need another one when the system tells nothing of it.

   Linked with --wrap of sched_getcpu, which here tells any of two processors, and of sched_setaffinity, which here takes
   long enough for the other thread to come between. */
#define _GNU_SOURCE
#include "placement.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRADES 300
#define NO_THREAD (1 << 28) /* Linux numbers them up to 2^22 */

int __real_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set);
int __wrap_sched_getcpu(void);

static pb_placement placement;
static atomic_int began, over;
static atomic_uint reads;

static void nap(long microseconds) {
  struct timespec time = {0, microseconds * 1000};
  nanosleep(&time, NULL);
}

int __wrap_sched_getcpu(void) { return (int)(atomic_fetch_add(&reads, 1) * 2654435761u >> 31); }

int __wrap_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set) {
  const int result = __real_sched_setaffinity(id, size, set);
  if (CPU_COUNT(set) == 1) nap(300);
  return result;
}

static void *move(void *set) {
  pb_placement_enter(&placement, 0);
  atomic_store(&began, 1);
  while (!atomic_load(&over)) pb_placement_keep_apart(&placement, 0);
  sched_getaffinity(0, sizeof(cpu_set_t), set);
  return NULL;
}

int main(void) {
  pthread_t mover;
  cpu_set_t before, after;
  sched_getaffinity(0, sizeof before, &before);
  pb_placement_start(&placement, 2);
  if (pthread_create(&mover, NULL, move, &after)) return 2;
  while (!atomic_load(&began)) nap(100);
  pb_placement_enter(&placement, 1);
  for (int trades = 0; trades < TRADES; pb_placement_shared(&placement, 1)) {
    if (!pb_placement_begin(&placement)) continue;
    trades++;
    pb_placement_trade(&placement, 1, 0);
    pb_placement_end(&placement);
    nap(rand() % 1000);
  }
  atomic_store(&over, 1);
  pthread_join(mover, NULL);
  atomic_store(&placement.ids[0], NO_THREAD);
  pb_placement_leave(&placement, 0);
  pb_placement_busy(&placement, 0, 1);
  const int needs = pb_placement_needs(&placement, pb_placement_look(&placement, 1, 1));
  printf("%d of %d, %s\n", CPU_COUNT(&after), CPU_COUNT(&before), needs ? "needs one" : "needs none");
  return 0;
}
