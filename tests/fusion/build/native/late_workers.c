/* Runs a model whose workers are held up, and are late, as often as not; every output must be the first one's.

   late_workers WEIGHTS POOL RUNS; prints "equal" and ends with 0, or says what differs. A thread is held up by a signal
   of its own, whose handler waits. */
#define _GNU_SOURCE
#include "runs.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST_WORKERS 64

static int workers[MOST_WORKERS], worker_count;
static atomic_int held, release;

static void nap(long microseconds) {
  struct timespec time = {0, microseconds * 1000};
  nanosleep(&time, NULL);
}

static void hold(int signal) {
  (void)signal;
  atomic_fetch_add(&held, 1);
  while (!atomic_load(&release)) nap(100);
  atomic_fetch_sub(&held, 1);
}

static void delay(int signal) {
  (void)signal;
  nap(300);
}

static void find_workers(void) {
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *entry; tasks && (entry = readdir(tasks));)
    if (atoi(entry->d_name) && atoi(entry->d_name) != getpid()) workers[worker_count++] = atoi(entry->d_name);
  closedir(tasks);
}

/* Returns when all workers stand still, each of them between two runs. */
static void hold_workers(void) {
  atomic_store(&release, 0);
  for (int i = 0; i < worker_count; i++) syscall(SYS_tgkill, getpid(), workers[i], SIGUSR1);
  while (atomic_load(&held) < worker_count) nap(100);
}

static void release_workers(void) {
  atomic_store(&release, 1);
  while (atomic_load(&held)) nap(100);
}

static int run(pb_model *model, int runs, int delay_every) {
  float **outputs = make_outputs(pb_program_of(model));
  int good = 1;
  for (int i = 0; good && i < runs; i++) {
    if (delay_every && i % delay_every == 0) syscall(SYS_tgkill, getpid(), workers[rand() % worker_count], SIGUSR2);
    good = equal(model, rand() % INPUTS, outputs);
  }
  free_outputs(pb_program_of(model), outputs);
  return good;
}

static void *release_later(void *unused) {
  nap(20000);
  atomic_store(&release, 1);
  return unused;
}

int main(int count, char **words) {
  if (count != 4) return 2;
  const int runs = atoi(words[3]);
  signal(SIGUSR1, hold);
  signal(SIGUSR2, delay);
  pb_model *alone = open_model(words[1], 1), *model = open_model(words[1], atoi(words[2]));
  if (!alone || !model || expect_outputs(alone)) return 2;
  pb_close(alone);
  find_workers();
  hold_workers();
  int good = run(model, runs / 10, 0); /* the caller alone */
  release_workers();
  good = good && run(model, runs, 8);
  hold_workers();
  pthread_t releaser;
  pthread_create(&releaser, NULL, release_later, NULL);
  good = good && run(model, 10, 0);
  pb_close(model); /* of workers that are late */
  pthread_join(releaser, NULL);
  if (good) printf("equal\n");
  return !good;
}
