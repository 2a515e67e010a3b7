/* Two threads run one model again and again while the process forks; every output must be the first one's.

   threads_and_forks WEIGHTS POOL RUNS FORKS; prints "equal" and ends with 0, or says what differs. */
#define _GNU_SOURCE
#include "runs.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 2

static const char *weights;
static int pool, runs;
static pb_model *shared;
static atomic_int forked; /* all children, so that threads run while the process forks */

static void *caller(void *number) {
  float **outputs = make_outputs(pb_program_of(shared));
  long good = 1;
  for (int i = 0; good && (i < runs || !atomic_load(&forked)); i++) good = equal(shared, (i + (int)(long)number) % INPUTS, outputs);
  free_outputs(pb_program_of(shared), outputs);
  return (void *)good;
}

/* What the children do, in turn: only end, use the parent's model, close it, open one of their own. ThreadSanitizer
   knows no threads of a forked child: beneath it, those that would start some only end. */
static int child(int number) {
#ifdef __SANITIZE_THREAD__
  if (pool > 1 && number % 2) exit(0);
#endif
  if (number % 4 == 0) exit(0);
  pb_model *model = number % 4 == 3 ? open_model(weights, pool) : shared;
  if (!model) return 1;
  float **outputs = make_outputs(pb_program_of(model));
  int good = number % 4 == 2;
  for (int i = 0; !good && i < 3; i++)
    if (!equal(model, (number + i) % INPUTS, outputs)) return 1;
  pb_close(model);
  return 0;
}

static int fork_children(int forks) {
  int failed = 0;
  for (int i = 0; i < forks; i++) {
    pid_t process = fork();
    if (process < 0) exit(2);
    if (!process) _exit(child(i));
    int status;
    waitpid(process, &status, 0);
    failed += status != 0;
  }
  atomic_store(&forked, 1);
  if (failed) fprintf(stderr, "%d children failed\n", failed);
  return failed;
}

/* Runs until the model is stopped. */
static void *until_stopped(void *unused) {
  (void)unused;
  float **outputs = make_outputs(pb_program_of(shared));
  int result = 0;
  while (!result) result = pb_run(shared, (const int64_t *const *)inputs[0], outputs);
  free_outputs(pb_program_of(shared), outputs);
  return (void *)(long)(result == PB_STOPPED);
}

static int in_threads(void *(*work)(void *), int (*meanwhile)(int), int argument) {
  pthread_t threads[CALLERS];
  int failed = 0;
  for (long i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
  failed += meanwhile(argument);
  for (int i = 0; i < CALLERS; i++) {
    void *good;
    pthread_join(threads[i], &good);
    failed += !good;
  }
  return failed;
}

static int stop(int unused) {
  (void)unused;
  usleep(1000);
  pb_stop(shared);
  return 0;
}

int main(int count, char **words) {
  if (count != 5) return 2;
  weights = words[1];
  pool = atoi(words[2]);
  runs = atoi(words[3]);
  shared = open_model(weights, pool);
  if (!shared || expect_outputs(shared)) return 2;
  int failed = in_threads(caller, fork_children, atoi(words[4]));
  failed += in_threads(until_stopped, stop, 0);
  pb_close(shared);
  if (!failed) printf("equal\n");
  return failed != 0;
}
