/* Open models: a program, its weights and memory, and the threads that run it. */
#define _GNU_SOURCE
#include "clock.h"
#include "pool.h"
#include "processor.h"
#include "program.h"
#include "weights.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PB_LINE_BYTES 64
#define PB_AHEAD_BYTES (3 << 19) /* more would not stay in a core's L2 cache until it is read */

typedef struct {
  long weights; /* offset */
  long lines;   /* a tile */
} ahead;

struct pb_model {
  const pb_program *program;
  int threads;
  pb_pool pool;
  pb_weights weights;
  const char *current; /* the copy of the weights that the current run reads */
  long copy;
  char *arena;
  char *scratch;
  atomic_int *ready;
  ahead *ahead;      /* one a step */
  double *step_ends; /* milliseconds, one a step */
  _Atomic double utilisation;
  pthread_mutex_t lock; /* of the three below */
  pthread_cond_t turned;
  unsigned ticket;     /* of the next call that comes */
  atomic_uint serving; /* the ticket of the one that runs */
  int stopped;
  atomic_int process; /* whose threads the pool has; negative while that process starts them */
};

/* Finds for each step the next one that has weights, and how many cache lines of them each tile should fetch. */
static void look_ahead(pb_model *m) {
  const pb_program *p = m->program;
  for (int s = 0; s < p->step_count; s++) {
    int next = s + 1;
    m->ahead[s] = (ahead){0};
    while (next < p->step_count && !p->steps[next].weight_bytes) next++;
    if (next == p->step_count || p->steps[next].weight_bytes > PB_AHEAD_BYTES) continue;
    long lines = (p->steps[next].weight_bytes + PB_LINE_BYTES - 1) / PB_LINE_BYTES;
    m->ahead[s] = (ahead){p->steps[next].weights, (lines + p->steps[s].tiles - 1) / p->steps[s].tiles};
  }
}

static int run_tiles(void *context, int thread, int s, int tile) {
  pb_model *m = context;
  const pb_step *step = &m->program->steps[s];
  const ahead *ahead = &m->ahead[s];
  pb_operands o;
  for (int i = 0; i < step->input_count; i++) o.inputs[i] = m->arena + step->inputs[i];
  o.output = (float *)(m->arena + step->output);
  o.weights = (const float *)(m->current + step->weights);
  o.scratch = (float *)(m->scratch + thread * m->program->scratch_bytes);
  o.ready = m->ready;
  o.ahead_lines = ahead->lines;
  int count = 0;
  for (; tile < step->tiles; tile = pb_pool_next(&m->pool, step->tiles), count++) {
    o.ahead = m->current + ahead->weights + tile * ahead->lines * PB_LINE_BYTES;
    step->kernel(&o, tile);
  }
  return count;
}

const char *pb_block_hash(const pb_program *program, int step) { return program->steps[step].hash; }

int pb_describe(char *text, size_t size) {
  snprintf(text, size, "this runner is for the processor: it describes no GPU");
  return 1;
}

int pb_launches(const pb_program *program) {
  (void)program; /* tiles are handed to threads of its own */
  return 0;
}

/* What the largest program of the visits needs, of each kind of memory. */
static pb_program largest_of(const pb_visit *visits, int count) {
  pb_program most = {0};
  for (int i = 0; i < count; i++) {
    const pb_program *p = visits[i].program;
    if (p->arena_bytes > most.arena_bytes) most.arena_bytes = p->arena_bytes;
    if (p->scratch_bytes > most.scratch_bytes) most.scratch_bytes = p->scratch_bytes;
    if (p->ready_count > most.ready_count) most.ready_count = p->ready_count;
    if (p->step_count > most.step_count) most.step_count = p->step_count;
  }
  return most;
}

static int allocate_memory(pb_model *m, const pb_program *p, char *error, size_t size) {
  m->arena = pb_allocate(p->arena_bytes);
  m->scratch = pb_allocate((size_t)p->scratch_bytes * m->threads);
  m->ready = pb_allocate(sizeof(atomic_int) * (p->ready_count + 1));
  m->ahead = pb_allocate(sizeof *m->ahead * (p->step_count + 1));
  m->step_ends = pb_allocate(sizeof(double) * (p->step_count + 1));
  if (m->arena && m->scratch && m->ready && m->ahead && m->step_ends) return 0;
  snprintf(error, size, "not enough memory for %ld bytes of activations", p->arena_bytes);
  return 1;
}

/* Starts the pool, and lets calls come. */
static int begin(pb_model *m) {
  m->ticket = 0;
  atomic_store(&m->serving, 0);
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->turned, NULL);
  return pb_pool_start(&m->pool, m->threads);
}

static int start_threads(pb_model *m, char *error, size_t size) {
  int failed = begin(m);
  if (failed) snprintf(error, size, "cannot start %d threads: %s", m->threads, strerror(failed));
  return failed;
}

static void release(pb_model *m) {
  pb_weights_free(&m->weights);
  free(m->arena);
  free(m->scratch);
  free(m->ready);
  free(m->ahead);
  free(m->step_ends);
  free(m);
}

static int take_weights(pb_model *m, const pb_visit *visits, int count, const pb_source *weights, char *error,
                        size_t size) {
  if (!weights) return pb_weights_fill(&m->weights, visits, count, error, size);
  return !pb_are_one_program(visits, count, error, size) ||
         pb_weights_open(&m->weights, visits[0].program, weights, error, size);
}

/* The first run reads the copy behind all that the visit before has read, which may be in a cache still. */
static void begin_visit(pb_model *m, const pb_visit *visit) {
  const long read = m->current ? m->current - m->weights.base + m->weights.stride : 0;
  m->program = visit->program;
  pb_weights_turn(&m->weights, visit);
  m->copy = m->weights.copies > 1 ? read / m->weights.stride % m->weights.copies : 0;
  m->current = m->weights.base + m->copy * m->weights.stride;
  look_ahead(m);
}

int pb_turn_to(pb_model *m, const pb_visit *visit) {
  begin_visit(m, visit);
  memset(m->arena, 0, (size_t)m->program->arena_bytes);
  return 0;
}

pb_model *pb_open_round(const pb_visit *visits, int count, pb_opening opening, char *error, size_t size) {
  if (pb_processor_lacks(error, size)) return NULL;
  if (opening.threads < 1 || opening.threads > PB_MAX_THREADS) {
    snprintf(error, size, "threads must be 1 to %d, not %d", PB_MAX_THREADS, opening.threads);
    return NULL;
  }
  pb_model *m = pb_allocate(sizeof *m);
  if (!m) {
    snprintf(error, size, "not enough memory");
    return NULL;
  }
  const pb_program most = largest_of(visits, count);
  m->threads = opening.threads;
  int failed = allocate_memory(m, &most, error, size) || take_weights(m, visits, count, opening.weights, error, size);
  if (!failed) begin_visit(m, &visits[0]);
  if (failed || start_threads(m, error, size)) {
    release(m);
    return NULL;
  }
  atomic_store(&m->process, (int)getpid());
  return m;
}

/* With the lock held. */
static void pass_turn(pb_model *m) {
  atomic_fetch_add(&m->serving, 1);
  pthread_cond_broadcast(&m->turned);
}

/* In a forked child the pool's threads do not exist, and locks may be held by threads of the parent: begins anew with
   what the pages hold, alone where no thread can be started. The first call of the child does so, others wait. */
static int start_anew(pb_model *m, int seen) {
  if (m->stopped) return PB_STOPPED;
  const int here = (int)getpid();
  while (seen != here && (seen == -here || !atomic_compare_exchange_weak(&m->process, &seen, -here))) {
    sched_yield();
    seen = atomic_load(&m->process);
  }
  if (seen == here) return 0;
  atomic_load(&m->serving); /* all runs that ended before the fork come before what follows */
  memset(m->ready, 0, sizeof(atomic_int) * (m->program->ready_count + 1));
  if (begin(m)) pb_pool_start(&m->pool, 1);
  atomic_store(&m->process, here);
  return 0;
}

/* Waits for the caller's turn; callers come in the order in which they arrived. Returns 0, or why there is none. */
static int take_turn(pb_model *m) {
  const int process = atomic_load(&m->process);
  const int failed = process == (int)getpid() ? 0 : start_anew(m, process);
  if (failed) return failed;
  pthread_mutex_lock(&m->lock);
  const unsigned ticket = m->ticket++;
  while (ticket != m->serving) pthread_cond_wait(&m->turned, &m->lock);
  const int stopped = m->stopped;
  if (stopped) pass_turn(m);
  pthread_mutex_unlock(&m->lock);
  return stopped ? PB_STOPPED : 0;
}

static void end_turn(pb_model *m) {
  pthread_mutex_lock(&m->lock);
  pass_turn(m);
  pthread_mutex_unlock(&m->lock);
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

static int run_once(pb_model *m, const int64_t *const *inputs, float *const *outputs) {
  int bad = copy_in(m, inputs);
  if (bad) return bad;
  if (m->weights.copies > 1) {
    m->copy = (m->copy + 1) % m->weights.copies;
    m->current = m->weights.base + m->copy * m->weights.stride;
  }
  pb_pool_run(&m->pool, (pb_tasks){m->program->steps, m->program->step_count, run_tiles, m, m->step_ends});
  copy_out(m, outputs);
  return 0;
}

int pb_run(pb_model *m, const int64_t *const *inputs, float *const *outputs) {
  int result = take_turn(m);
  if (result) return result;
  result = run_once(m, inputs, outputs);
  end_turn(m);
  return result;
}

static int time_runs(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs,
                     double *run_ms, double *step_ms) {
  const int steps = m->program->step_count;
  double began = 0, busy = 0;
  for (long run = 0; run < (long)warmup + runs; run++) {
    if (run == warmup) {
      busy = pb_pool_cpu_ms(&m->pool);
      began = pb_now_ms();
    }
    double start = pb_now_ms();
    int bad = run_once(m, inputs, outputs);
    if (bad) return bad;
    run_ms[run] = pb_now_ms() - start;
    for (int s = 0; run >= warmup && s < steps; s++)
      step_ms[(run - warmup) * steps + s] = m->step_ends[s] - (s ? m->step_ends[s - 1] : start);
  }
  double wall = pb_now_ms() - began;
  m->utilisation = runs > 0 && wall > 0 ? (pb_pool_cpu_ms(&m->pool) - busy) / (wall * m->threads) : 0;
  return 0;
}

int pb_time(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs, double *run_ms,
            double *step_ms) {
  int result = take_turn(m);
  if (result) return result;
  result = time_runs(m, inputs, outputs, warmup, runs, run_ms, step_ms);
  end_turn(m);
  return result;
}

double pb_utilisation(const pb_model *m) { return m->utilisation; }

long pb_memory_bytes(const pb_model *m) {
  const pb_program *p = m->program;
  long counters = (long)(sizeof(atomic_int) * (p->ready_count + 1));
  counters += (long)((sizeof(double) + sizeof(ahead)) * (p->step_count + 1));
  return (long)m->weights.bytes + p->arena_bytes + p->scratch_bytes * m->threads + counters;
}

const char *pb_message(const pb_model *m) {
  (void)m; /* on a processor nothing fails */
  return "";
}

const pb_program *pb_program_of(const pb_model *m) { return m->program; }

void pb_stop(pb_model *m) {
  if (atomic_load(&m->process) != (int)getpid()) { /* the threads, and who holds the lock, are another process's */
    m->stopped = 1;
    return;
  }
  pthread_mutex_lock(&m->lock);
  m->stopped = 1;
  while (m->serving != m->ticket) pthread_cond_wait(&m->turned, &m->lock);
  pb_pool_stop(&m->pool);
  pthread_mutex_unlock(&m->lock);
}

void pb_close(pb_model *m) {
  if (!m) return;
  pb_stop(m);
  if (atomic_load(&m->process) == (int)getpid()) {
    pthread_cond_destroy(&m->turned);
    pthread_mutex_destroy(&m->lock);
  }
  release(m);
}
