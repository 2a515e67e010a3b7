/* Programs, weights and the thread pool. */
#define _GNU_SOURCE
#include "pocketbert.h"
#include "processor.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PB_HEADER_BYTES 64
#define PB_ALIGNMENT 64
#define PB_LINE_BYTES 64
#define PB_AHEAD_BYTES (3 << 19) /* more would not stay in a core's L2 cache until it is read */
#define PB_SPINS_BEFORE_YIELD 4096
#define PB_SPINS_BEFORE_SLEEP 20000

typedef struct {
  long weights; /* offset */
  long lines;   /* a tile */
} ahead;

struct pb_model {
  const pb_program *program;
  char *arena;
  char *weights; /* of the current run */
  char *weights_base;
  void *mapping;
  size_t mapping_bytes;
  long weight_stride;
  int copies, copy;
  char *scratch;
  atomic_int *ready;
  ahead *ahead; /* one a step */
  double *step_ends; /* milliseconds, one a step */
  double utilisation;
  int threads;
  pthread_t workers[PB_MAX_THREADS];
  int started;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  atomic_int sleepers;
  atomic_int caller_cpu;
  atomic_int stop;
  _Alignas(64) atomic_uint job;
  _Alignas(64) atomic_int tile;
  _Alignas(64) atomic_int arrived;
  _Alignas(64) atomic_uint phase;
};

typedef struct {
  pb_model *model;
  int index;
  int cpu; /* where to start, or -1 */
} worker_start;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static double clock_ms(clockid_t clock) {
  struct timespec t = {0};
  clock_gettime(clock, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

/* Processor time of the calling thread and of the pool. */
static double cpu_ms(pb_model *m) {
  double total = clock_ms(CLOCK_THREAD_CPUTIME_ID);
  clockid_t clock;
  for (int i = 1; i <= m->started; i++)
    if (!pthread_getcpuclockid(m->workers[i], &clock)) total += clock_ms(clock);
  return total;
}

/* All threads of a run meet here; the last one opens the next step. */
static void meet(pb_model *m, int step) {
  unsigned phase = atomic_load_explicit(&m->phase, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&m->arrived, 1, memory_order_acq_rel) == m->threads - 1) {
    m->step_ends[step] = now_ms();
    atomic_store_explicit(&m->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&m->tile, 0, memory_order_relaxed);
    atomic_store_explicit(&m->phase, phase + 1, memory_order_release);
    return;
  }
  for (int spins = 0; atomic_load_explicit(&m->phase, memory_order_acquire) == phase; spins++) {
    if (spins < PB_SPINS_BEFORE_YIELD) relax();
    else sched_yield();
  }
}

/* Finds for each step the next one that has weights, and how many cache lines of them each tile should fetch. */
static void look_ahead(pb_model *m) {
  const pb_program *p = m->program;
  for (int s = 0; s < p->step_count; s++) {
    int next = s + 1;
    while (next < p->step_count && !p->steps[next].weight_bytes) next++;
    if (next == p->step_count || p->steps[next].weight_bytes > PB_AHEAD_BYTES) continue;
    long lines = (p->steps[next].weight_bytes + PB_LINE_BYTES - 1) / PB_LINE_BYTES;
    m->ahead[s] = (ahead){p->steps[next].weights, (lines + p->steps[s].tiles - 1) / p->steps[s].tiles};
  }
}

static void run_steps(pb_model *m, int thread) {
  const pb_program *p = m->program;
  pb_operands o;
  o.scratch = (float *)(m->scratch + thread * p->scratch_bytes);
  o.ready = m->ready;
  for (int s = 0; s < p->step_count; s++) {
    const pb_step *step = &p->steps[s];
    for (int i = 0; i < step->input_count; i++) o.inputs[i] = m->arena + step->inputs[i];
    o.output = (float *)(m->arena + step->output);
    o.weights = (const float *)(m->weights + step->weights);
    o.ahead_lines = m->ahead[s].lines;
    int tile;
    while ((tile = atomic_fetch_add_explicit(&m->tile, 1, memory_order_relaxed)) < step->tiles) {
      o.ahead = m->weights + m->ahead[s].weights + tile * o.ahead_lines * PB_LINE_BYTES;
      step->kernel(&o, tile);
    }
    meet(m, s);
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
static void leave_caller(pb_model *m, int thread) {
  if (sched_getcpu() == atomic_load_explicit(&m->caller_cpu, memory_order_relaxed)) move_to(other_cpu(thread - 1));
}

/* Waits for a job other than `seen`: spins for some tens of microseconds, then sleeps. */
static unsigned wait_for_job(pb_model *m, int thread, unsigned seen) {
  for (int spins = 0; spins < PB_SPINS_BEFORE_SLEEP; spins++) {
    unsigned job = atomic_load_explicit(&m->job, memory_order_acquire);
    if (job != seen) return job;
    relax();
  }
  pthread_mutex_lock(&m->lock);
  atomic_fetch_add(&m->sleepers, 1);
  while (atomic_load(&m->job) == seen) pthread_cond_wait(&m->wake, &m->lock);
  atomic_fetch_sub(&m->sleepers, 1);
  pthread_mutex_unlock(&m->lock);
  leave_caller(m, thread);
  return atomic_load(&m->job);
}

static void *worker(void *argument) {
  worker_start start = *(worker_start *)argument;
  free(argument);
  move_to(start.cpu);
  unsigned seen = 0;
  while (1) {
    seen = wait_for_job(start.model, start.index, seen);
    if (atomic_load(&start.model->stop)) return NULL;
    run_steps(start.model, start.index);
  }
}

static void start_job(pb_model *m) {
  atomic_store_explicit(&m->caller_cpu, sched_getcpu(), memory_order_relaxed);
  atomic_fetch_add(&m->job, 1);
  if (atomic_load(&m->sleepers)) {
    pthread_mutex_lock(&m->lock);
    pthread_cond_broadcast(&m->wake);
    pthread_mutex_unlock(&m->lock);
  }
}

static int start_workers(pb_model *m) {
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->wake, NULL);
  for (int i = 1; i < m->threads; i++) {
    worker_start *start = malloc(sizeof *start);
    if (!start) return ENOMEM;
    *start = (worker_start){m, i, other_cpu(i - 1)};
    int failed = pthread_create(&m->workers[i], NULL, worker, start);
    if (failed) {
      free(start);
      return failed;
    }
    m->started = i;
  }
  return 0;
}

static void *allocate(size_t bytes) {
  void *memory = NULL;
  size_t whole = (bytes + PB_ALIGNMENT) / PB_ALIGNMENT * PB_ALIGNMENT;
  if (posix_memalign(&memory, PB_ALIGNMENT, whole)) return NULL;
  memset(memory, 0, whole);
  return memory;
}

static int map_weights(pb_model *m, const char *path, char *error, size_t size) {
  const pb_program *p = m->program;
  int file = open(path, O_RDONLY);
  off_t bytes = file < 0 ? -1 : lseek(file, 0, SEEK_END);
  if (bytes < 0) {
    snprintf(error, size, "cannot open the weights %s: %s", path, strerror(errno));
    if (file >= 0) close(file);
    return 1;
  }
  m->mapping_bytes = PB_HEADER_BYTES + p->weight_bytes;
  void *mapping = (size_t)bytes == m->mapping_bytes
                      ? mmap(NULL, m->mapping_bytes, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
  close(file);
  if (mapping == MAP_FAILED) {
    snprintf(error, size, "%s has %lld bytes, the program needs %zu", path, (long long)bytes, m->mapping_bytes);
    return 1;
  }
  m->mapping = mapping;
  if (memcmp(mapping, "PBWEIGHT", 8) || strncmp((char *)mapping + 16, p->id, PB_HEADER_BYTES - 16)) {
    snprintf(error, size, "%s holds the weights of another program", path);
    return 1;
  }
  m->weights = m->weights_base = (char *)mapping + PB_HEADER_BYTES;
  m->copies = 1;
  return 0;
}

static int fill_weights(pb_model *m, long rotate_bytes, char *error, size_t size) {
  const pb_program *p = m->program;
  m->weight_stride = (p->weight_bytes + PB_ALIGNMENT - 1) / PB_ALIGNMENT * PB_ALIGNMENT;
  m->copies = p->weight_bytes && rotate_bytes > p->weight_bytes ? (int)(rotate_bytes / m->weight_stride) : 1;
  if (m->copies < 1) m->copies = 1;
  m->weights_base = m->weights = allocate((size_t)m->copies * m->weight_stride);
  if (!m->weights_base) {
    snprintf(error, size, "not enough memory for %ld bytes of weights", m->copies * m->weight_stride);
    return 1;
  }
  uint32_t state = 12345;
  float *values = (float *)m->weights_base;
  for (long i = 0; i < p->weight_bytes / 4; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = ((int)(state >> 16) - 32768) * (1.0f / 1048576.0f);
  }
  for (int i = 1; i < m->copies; i++) memcpy(m->weights_base + i * m->weight_stride, m->weights_base, p->weight_bytes);
  return 0;
}

static const pb_program *find_program(const char *name) {
  for (int i = 0; i < pb_program_count; i++)
    if (!strcmp(pb_programs[i].name, name)) return &pb_programs[i];
  return NULL;
}

pb_model *pb_open(const char *name, const char *weights, int threads, long rotate_bytes, char *error, size_t size) {
  if (pb_processor_lacks(error, size)) return NULL;
  const pb_program *p = find_program(name);
  if (!p) {
    snprintf(error, size, "no program %s", name);
    return NULL;
  }
  if (threads < 1 || threads > PB_MAX_THREADS) {
    snprintf(error, size, "threads must be 1 to %d, not %d", PB_MAX_THREADS, threads);
    return NULL;
  }
  pb_model *m = allocate(sizeof *m);
  if (!m) {
    snprintf(error, size, "not enough memory");
    return NULL;
  }
  m->program = p;
  m->threads = threads;
  m->arena = allocate(p->arena_bytes);
  m->scratch = allocate(p->scratch_bytes * threads);
  m->ready = allocate(sizeof(atomic_int) * (p->ready_count + 1));
  m->ahead = allocate(sizeof *m->ahead * (p->step_count + 1));
  m->step_ends = allocate(sizeof(double) * (p->step_count + 1));
  int failed = !m->arena || !m->scratch || !m->ready || !m->ahead || !m->step_ends;
  if (failed) snprintf(error, size, "not enough memory for %ld bytes of activations", p->arena_bytes);
  else failed = weights ? map_weights(m, weights, error, size) : fill_weights(m, rotate_bytes, error, size);
  if (!failed) look_ahead(m);
  if (!failed && start_workers(m)) {
    snprintf(error, size, "cannot start %d threads", threads);
    failed = 1;
  }
  if (failed) {
    pb_close(m);
    return NULL;
  }
  return m;
}

static int copy_in(pb_model *m, const int64_t *const *inputs) {
  for (int i = 0; i < m->program->input_count; i++) {
    const pb_port *port = &m->program->inputs[i];
    int32_t *target = (int32_t *)(m->arena + port->offset);
    for (int r = 0; r < port->rows; r++) {
      if (inputs[i][r] < 0 || inputs[i][r] >= port->limit) return 1 + i;
      target[r] = (int32_t)inputs[i][r];
    }
  }
  return 0;
}

static void copy_out(pb_model *m, float *const *outputs) {
  for (int i = 0; i < m->program->output_count; i++) {
    const pb_port *port = &m->program->outputs[i];
    const float *source = (const float *)(m->arena + port->offset);
    for (int r = 0; r < port->rows; r++)
      memcpy(outputs[i] + (long)r * port->columns, source + (long)r * port->stride, sizeof(float) * port->columns);
  }
}

int pb_run(pb_model *m, const int64_t *const *inputs, float *const *outputs) {
  int bad = copy_in(m, inputs);
  if (bad) return bad;
  if (m->copies > 1) {
    m->copy = (m->copy + 1) % m->copies;
    m->weights = m->weights_base + m->copy * m->weight_stride;
  }
  if (m->threads > 1) start_job(m);
  run_steps(m, 0);
  copy_out(m, outputs);
  return 0;
}

int pb_time(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs, double *run_ms,
            double *step_ms) {
  const int steps = m->program->step_count;
  double began = 0, busy = 0;
  for (int run = 0; run < warmup + runs; run++) {
    if (run == warmup) {
      busy = cpu_ms(m);
      began = now_ms();
    }
    double start = now_ms();
    int bad = pb_run(m, inputs, outputs);
    if (bad) return bad;
    run_ms[run] = now_ms() - start;
    for (int s = 0; run >= warmup && s < steps; s++)
      step_ms[(long)(run - warmup) * steps + s] = m->step_ends[s] - (s ? m->step_ends[s - 1] : start);
  }
  double wall = now_ms() - began;
  m->utilisation = runs > 0 && wall > 0 ? (cpu_ms(m) - busy) / (wall * m->threads) : 0;
  return 0;
}

double pb_utilisation(const pb_model *m) { return m->utilisation; }

long pb_memory_bytes(const pb_model *m) {
  const pb_program *p = m->program;
  long weights = m->mapping ? (long)m->mapping_bytes : m->copies * m->weight_stride;
  long counters = (long)(sizeof(atomic_int) * (p->ready_count + 1));
  counters += (long)((sizeof(double) + sizeof(ahead)) * (p->step_count + 1));
  return weights + p->arena_bytes + p->scratch_bytes * m->threads + counters;
}

const pb_program *pb_program_of(const pb_model *m) { return m->program; }

void pb_close(pb_model *m) {
  if (!m) return;
  atomic_store(&m->stop, 1);
  if (m->started) {
    start_job(m);
    for (int i = 1; i <= m->started; i++) pthread_join(m->workers[i], NULL);
  }
  if (m->mapping) munmap(m->mapping, m->mapping_bytes);
  else free(m->weights_base);
  free(m->arena);
  free(m->scratch);
  free(m->ready);
  free(m->ahead);
  free(m->step_ends);
  free(m);
}
