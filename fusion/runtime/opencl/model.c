/* Open models on a GPU: the same calls as on the processor (pocketbert.h). */
#define _GNU_SOURCE
#include "clock.h"
#include "opencl/loaded.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PB_MESSAGE_BYTES 512
#define PB_PROFILED_RUNS 10 /* of the timed ones, made again with the device's own clock */

struct pb_model {
  pb_device device;
  pb_loaded loaded;
  int made_up;         /* the weights, which then have no source */
  pb_source weights;   /* with a path of the model's own */
  char *kernels;       /* the folder of their binaries, or NULL */
  double device_share; /* of the wall time of the last pb_time */
  pthread_mutex_t turn;
  int stopped;
  pid_t process;
  char message[PB_MESSAGE_BYTES];
};

const char *pb_block_hash(const pb_program *program, int step) { return program->steps[step].hash; }

int pb_describe(char *text, size_t size) { return pb_driver_describe(text, size); }

int pb_launches(const pb_program *program) { return pb_gpu_programs[program - pb_programs].launch_count; }

/* Where binaries of kernels are kept: the folder that was named, or where POCKETBERT_KERNELS says, or else a folder
   beside the weights' file. */
static char *kernels_folder(const pb_opening *opening) {
  const char *named = opening->kernels ? opening->kernels : getenv("POCKETBERT_KERNELS");
  const char *file = opening->weights && opening->weights->kind == PB_FROM_PATH ? opening->weights->path : NULL;
  const char *slash = file ? strrchr(file, '/') : NULL;
  char *folder = NULL;
  if (named && *named) return strdup(named);
  if (!file || asprintf(&folder, "%.*skernels", slash ? (int)(slash - file) + 1 : 0, file) < 0) return NULL;
  return folder;
}

/* What a GPU's model does not do is refused. */
static int is_possible(const pb_visit *visits, int count, const pb_source *weights, char *error, size_t size) {
  for (int i = 0; i < count; i++)
    if (visits[i].rotate_bytes) {
      snprintf(error, size, "a GPU has one copy of the weights: no bytes to rotate over");
      return 0;
    }
  return !weights || pb_are_one_program(visits, count, error, size);
}

static void release(pb_model *m) {
  pb_unload(&m->loaded, &m->device);
  pb_device_close(&m->device);
  pthread_mutex_destroy(&m->turn);
  free((char *)m->weights.path);
  free(m->kernels);
  free(m);
}

/* Keeps what a later turn loads the weights from. Returns whether there was memory. */
static int keep_source(pb_model *m, const pb_source *weights) {
  if (!weights) return 1;
  m->weights = *weights;
  m->weights.path = NULL;
  if (weights->kind != PB_FROM_PATH || !weights->path) return 1;
  return (m->weights.path = strdup(weights->path)) != NULL;
}

static int load(pb_model *m, const pb_program *program, char *error, size_t size) {
  return pb_load(&m->loaded, &m->device, program, m->made_up ? NULL : &m->weights, m->kernels, error, size);
}

/* The driver's threads are its own matter. */
pb_model *pb_open_round(const pb_visit *visits, int count, pb_opening opening, char *error, size_t size) {
  if (!is_possible(visits, count, opening.weights, error, size)) return NULL;
  pb_model *m = calloc(1, sizeof *m);
  if (!m || !keep_source(m, opening.weights)) {
    snprintf(error, size, "not enough memory");
    free(m);
    return NULL;
  }
  m->made_up = !opening.weights;
  m->kernels = kernels_folder(&opening);
  m->process = getpid();
  pthread_mutex_init(&m->turn, NULL);
  if (pb_device_open(&m->device, error, size) || load(m, visits[0].program, error, size)) {
    release(m);
    return NULL;
  }
  return m;
}

int pb_turn_to(pb_model *m, const pb_visit *visit) {
  if (m->loaded.program == visit->program) return 0;
  pb_unload(&m->loaded, &m->device);
  return load(m, visit->program, m->message, sizeof m->message) ? PB_FAILED : 0;
}

/* A driver's threads do not survive a fork: in a child the model says so. Returns 0 with the turn held. */
static int take_turn(pb_model *m) {
  if (m->process != getpid()) {
    snprintf(m->message, sizeof m->message, "a model on the GPU cannot be used in a forked process: open it there");
    return PB_FAILED;
  }
  pthread_mutex_lock(&m->turn);
  if (!m->stopped) return 0;
  pthread_mutex_unlock(&m->turn);
  return PB_STOPPED;
}

static int go(pb_model *m, const int64_t *const *inputs, float *const *outputs, int profiled) {
  return pb_go(&m->loaded, &m->device, inputs, outputs, profiled, m->message, sizeof m->message);
}

int pb_run(pb_model *m, const int64_t *const *inputs, float *const *outputs) {
  int result = take_turn(m);
  if (result) return result;
  result = go(m, inputs, outputs, 0);
  pthread_mutex_unlock(&m->turn);
  return result;
}

/* Wall times are taken without events, which cost some drivers as much as a launch; steps are timed in a few runs more,
   whose times the rows of `step_ms` repeat. */
static int time_runs(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs,
                     double *run_ms, double *step_ms) {
  const int steps = m->loaded.program->step_count, profiled = runs < PB_PROFILED_RUNS ? runs : PB_PROFILED_RUNS;
  double device_ms = 0, wall_ms = 0;
  for (long run = 0; run < (long)warmup + runs; run++) {
    const double start = pb_now_ms();
    const int result = go(m, inputs, outputs, 0);
    if (result) return result;
    run_ms[run] = pb_now_ms() - start;
  }
  for (int run = 0; run < profiled; run++) {
    const double start = pb_now_ms();
    const int result = go(m, inputs, outputs, 1);
    wall_ms += pb_now_ms() - start;
    if (result) return result;
    pb_take_times(&m->loaded, &m->device, step_ms + (long)run * steps);
    for (int s = 0; s < steps; s++) device_ms += step_ms[(long)run * steps + s];
  }
  for (long run = profiled; run < runs; run++)
    memcpy(step_ms + run * steps, step_ms + run % profiled * steps, sizeof *step_ms * (size_t)steps);
  m->device_share = wall_ms > 0 ? device_ms / wall_ms : 0;
  return 0;
}

int pb_time(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs, double *run_ms,
            double *step_ms) {
  int result = take_turn(m);
  if (result) return result;
  result = time_runs(m, inputs, outputs, warmup, runs, run_ms, step_ms);
  pthread_mutex_unlock(&m->turn);
  return result;
}

double pb_utilisation(const pb_model *m) { return m->device_share; }

long pb_memory_bytes(const pb_model *m) { return m->loaded.bytes; }

const char *pb_message(const pb_model *m) { return m->message; }

const pb_program *pb_program_of(const pb_model *m) { return m->loaded.program; }

void pb_stop(pb_model *m) {
  if (m->process != getpid()) return;
  pthread_mutex_lock(&m->turn);
  m->stopped = 1;
  pthread_mutex_unlock(&m->turn);
}

/* In a forked child what the parent opened is the parent's. */
void pb_close(pb_model *m) {
  if (!m || m->process != getpid()) return;
  pb_stop(m);
  release(m);
}
