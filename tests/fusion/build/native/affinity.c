/* Runs a model whose threads are moved all the time, and looks at what they may use after each run.

   affinity WEIGHTS POOL RUNS PROCESSORS; the calling thread limits itself to so many processors, with 0 not at all.
   Prints "given back" and ends with 0, or says what differs, or how many files were opened while it ran. Linked with
   --wrap of fopen; of sched_getcpu, which here tells any processor, so that threads seem to share one; and of
   sched_setaffinity, which here takes long enough for another thread to come between. A signal keeps threads from working,
   so that others see that they do not run. */
#define _GNU_SOURCE
#include "runs.h"
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int __real_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set);
int __wrap_sched_getcpu(void);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

static atomic_int moves, files;
static atomic_uint reads;
static cpu_set_t before, every, last; /* of the calling thread: at the beginning, none at all, what it was given last */

static void nap(long microseconds) {
  struct timespec time = {0, microseconds * 1000};
  nanosleep(&time, NULL);
}

static void delay(int signal) {
  (void)signal;
  nap(300);
}

FILE *__wrap_fopen(const char *path, const char *mode) {
  atomic_fetch_add(&files, 1);
  return __real_fopen(path, mode);
}

int __wrap_sched_getcpu(void) {
  const unsigned read = atomic_fetch_add(&reads, 1);
  return read % 16 < 15 ? (int)(syscall(SYS_gettid) % 2) : (int)(read / 16 % 2);
}

int __wrap_sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set) {
  const int result = __real_sched_setaffinity(id, size, set);
  if ((id ? id : (pid_t)syscall(SYS_gettid)) == getpid()) last = *set;
  atomic_fetch_add(&moves, CPU_COUNT(set) == 1);
  if (CPU_COUNT(set) == 1) nap(100);
  return result;
}

/* Limits the calling thread. Returns whether it is limited, by this or by whoever started the program. */
static int limit(int most) {
  cpu_set_t most_there_are;
  sched_getaffinity(0, sizeof before, &before);
  memset(&every, 0xff, sizeof every);
  last = every;
  __real_sched_setaffinity(0, sizeof every, &every);
  sched_getaffinity(0, sizeof most_there_are, &most_there_are);
  for (int cpu = CPU_SETSIZE - 1; most && cpu >= 0; cpu--)
    if (CPU_COUNT(&before) > most) CPU_CLR(cpu, &before);
  const int limited = most || !CPU_EQUAL(&before, &most_there_are);
  if (limited) __real_sched_setaffinity(0, sizeof before, &before);
  return limited;
}

/* Whether all threads, or the calling one alone, may use what they might before, and the calling one what the system may
   add to that later, unless it had limited itself. */
static int is_given_back(int limited, int all) {
  DIR *tasks = opendir("/proc/self/task");
  int good = CPU_EQUAL(&last, &every) || (limited && CPU_EQUAL(&last, &before));
  for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
    cpu_set_t now;
    const int id = atoi(entry->d_name);
    if (!id || (!all && id != getpid()) || sched_getaffinity(id, sizeof now, &now)) continue;
    if (!CPU_EQUAL(&now, &before)) good = 0;
  }
  closedir(tasks);
  return good;
}

int main(int count, char **words) {
  if (count != 5) return 2;
  const int pool = atoi(words[2]), runs = atoi(words[3]);
  signal(SIGUSR2, delay);
  const int limited = limit(atoi(words[4]));
  pb_model *model = open_model(words[1], pool);
  if (!model || expect_outputs(model)) return 2;
  float **outputs = make_outputs(pb_program_of(model));
  int good = 1;
  atomic_store(&files, 0);
  for (int i = 0; good && i < runs; i++) {
    syscall(SYS_tgkill, getpid(), getpid() + i % pool, SIGUSR2);
    good = equal(model, i % INPUTS, outputs) && is_given_back(limited, 0);
  }
  nap(50000); /* then workers sleep */
  good = good && is_given_back(limited, 1);
  if (!good) printf("not given back\n");
  else if (!atomic_load(&moves) && CPU_COUNT(&before) > 1) printf("nobody moved\n");
  else if (!limited && atomic_load(&files)) printf("%d files opened\n", atomic_load(&files));
  else printf("given back\n");
  free_outputs(pb_program_of(model), outputs);
  pb_close(model);
  return !good;
}
