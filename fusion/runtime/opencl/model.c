/* Open models on a GPU: the same calls as on the processor (pocketbert.h); a run is enqueued whole, and waited for once. */
#define _GNU_SOURCE
#include "clock.h"
#include "opencl/driver.h"
#include "opencl/gpu.h"
#include "opencl/kernels.h"
#include "weights.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PB_MESSAGE_BYTES 512
#define PB_PROFILED_RUNS 10 /* of the timed ones, made again with the device's own clock */
#define PB_TEXEL 4          /* numbers */

struct pb_model {
  const pb_program *program;
  const pb_gpu_program *gpu;
  pb_driver driver;
  cl_context context;
  cl_command_queue queue;
  pb_kernels built;
  cl_kernel *kernels; /* one a launch, with its arguments */
  cl_mem arena;
  cl_mem *weights; /* one a step; NULL where it has none */
  cl_mem *images;
  int32_t **ids;  /* one an input */
  char **results; /* one an output */
  cl_event *events;
  long bytes;
  double device_share; /* of the wall time of the last pb_time */
  pthread_mutex_t turn;
  int stopped;
  pid_t process;
  char message[PB_MESSAGE_BYTES];
};

static int find_program(const char *name) {
  for (int i = 0; name && i < pb_program_count; i++)
    if (!strcmp(pb_programs[i].name, name)) return i;
  return -1;
}

/* Notes what the driver refused; 1 where it did. */
static int failed(cl_int code, const char *what, char *error, size_t size) {
  if (code == CL_SUCCESS) return 0;
  snprintf(error, size, "%s: %s (%d)", what, pb_cl_error(code), code);
  return 1;
}

static cl_mem make_buffer(pb_model *m, cl_bitfield flags, size_t bytes, const void *from, const char *what, char *error,
                          size_t size) {
  const size_t most = pb_driver_number(&m->driver, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  cl_int code = CL_SUCCESS;
  if (most && bytes > most) {
    snprintf(error, size, "%s takes %zu bytes, the device gives %zu at once", what, bytes, most);
    return NULL;
  }
  if (from) flags |= CL_MEM_COPY_HOST_PTR;
  cl_mem buffer = m->driver.cl.CreateBuffer(m->context, flags, bytes, (void *)from, &code);
  if (failed(buffer ? CL_SUCCESS : code, what, error, size)) return NULL;
  m->bytes += (long)bytes;
  return buffer;
}

/* The matrix of a step as an image: the same bytes, read through another path. */
static cl_mem make_image(pb_model *m, const struct pb_step *step, cl_mem buffer, char *error, size_t size) {
  const size_t texels = (size_t)(step->matrix_bytes / (PB_TEXEL * m->gpu->number_bytes));
  const size_t most = pb_driver_number(&m->driver, CL_DEVICE_IMAGE_MAX_BUFFER_SIZE);
  const cl_image_format format = {CL_RGBA, m->gpu->number_bytes == 2 ? CL_HALF_FLOAT : CL_FLOAT};
  const cl_image_desc shape = {.type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .width = texels, .buffer = buffer};
  cl_int code = CL_SUCCESS;
  if (texels > most) {
    snprintf(error, size, "block %s needs an image of %zu texels, the device has %zu", step->hash, texels, most);
    return NULL;
  }
  cl_mem image = m->driver.cl.CreateImage(m->context, CL_MEM_READ_ONLY, &format, &shape, NULL, &code);
  failed(image ? CL_SUCCESS : code, "an image of weights", error, size);
  return image;
}

static int take_weights(pb_model *m, const char *base, char *error, size_t size) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    int image = 0;
    if (!step->weight_bytes) continue;
    m->weights[s] = make_buffer(m, CL_MEM_READ_ONLY, (size_t)step->weight_bytes, base + step->weights, "weights", error,
                                size);
    if (!m->weights[s]) return 1;
    for (int l = 0; l < step->launch_count; l++)
      image |= m->gpu->kernels[m->gpu->launches[step->first_launch + l].kernel].image;
    if (image && !(m->images[s] = make_image(m, step, m->weights[s], error, size))) return 1;
  }
  return 0;
}

/* Weights go to the device from the mapped file, or made up, and are not held beside. */
static int load_weights(pb_model *m, const char *path, char *error, size_t size) {
  const pb_visit visit = {m->program, 0, 0, 0};
  pb_weights weights = {0};
  int bad = path ? pb_weights_map(&weights, m->program, path, error, size)
                 : pb_weights_fill(&weights, &visit, 1, error, size);
  if (bad) return 1;
  bad = take_weights(m, weights.base, error, size);
  pb_weights_free(&weights);
  return bad;
}

static int set_argument(pb_model *m, cl_kernel kernel, cl_uint *index, size_t bytes, const void *value) {
  return m->driver.cl.SetKernelArg(kernel, (*index)++, bytes, value) != CL_SUCCESS;
}

/* Arguments stay the same from run to run: the arena, the step's weights, perhaps their image, and places. */
static int set_arguments(pb_model *m, const struct pb_step *step, int s, cl_kernel kernel, int image) {
  cl_uint index = 0;
  const cl_mem weights = m->weights[s] ? m->weights[s] : m->arena;
  int32_t place = (int32_t)step->output;
  int bad = set_argument(m, kernel, &index, sizeof m->arena, &m->arena);
  bad |= set_argument(m, kernel, &index, sizeof weights, &weights);
  if (image) bad |= set_argument(m, kernel, &index, sizeof m->images[s], &m->images[s]);
  bad |= set_argument(m, kernel, &index, sizeof place, &place);
  for (int i = 0; i < step->input_count; i++) {
    place = (int32_t)step->inputs[i];
    bad |= set_argument(m, kernel, &index, sizeof place, &place);
  }
  return bad;
}

static int make_launch(pb_model *m, const struct pb_step *step, int s, int l, char *error, size_t size) {
  const pb_launch *launch = &m->gpu->launches[l];
  const pb_kernel *kernel = &m->gpu->kernels[launch->kernel];
  size_t most = 0;
  cl_int code = CL_SUCCESS;
  m->kernels[l] = m->driver.cl.CreateKernel(m->built.programs[launch->kernel], kernel->name, &code);
  if (failed(m->kernels[l] ? CL_SUCCESS : code, kernel->name, error, size)) return 1;
  m->driver.cl.GetKernelWorkGroupInfo(m->kernels[l], m->driver.device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most,
                                      NULL);
  if (most && launch->group[0] * launch->group[1] > most) {
    snprintf(error, size, "kernel %s needs groups of %zu work-items, the device takes %zu", kernel->name,
             launch->group[0] * launch->group[1], most);
    return 1;
  }
  if (set_arguments(m, step, s, m->kernels[l], kernel->image)) {
    snprintf(error, size, "the driver takes other arguments for kernel %s", kernel->name);
    return 1;
  }
  return 0;
}

static int make_launches(pb_model *m, char *error, size_t size) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    for (int l = step->first_launch; l < step->first_launch + step->launch_count; l++)
      if (make_launch(m, step, s, l, error, size)) return 1;
  }
  return 0;
}

static int allocate(pb_model *m, char *error, size_t size) {
  const pb_program *p = m->program;
  m->kernels = calloc((size_t)m->gpu->launch_count + 1, sizeof *m->kernels);
  m->events = calloc((size_t)m->gpu->launch_count + 1, sizeof *m->events);
  m->weights = calloc((size_t)p->step_count + 1, sizeof *m->weights);
  m->images = calloc((size_t)p->step_count + 1, sizeof *m->images);
  m->ids = calloc((size_t)p->input_count + 1, sizeof *m->ids);
  m->results = calloc((size_t)p->output_count + 1, sizeof *m->results);
  int enough = m->kernels && m->events && m->weights && m->images && m->ids && m->results;
  for (int i = 0; enough && i < p->input_count; i++)
    enough = (m->ids[i] = calloc((size_t)p->inputs[i].rows, sizeof **m->ids)) != NULL;
  for (int i = 0; enough && i < p->output_count; i++)
    enough = (m->results[i] = calloc((size_t)p->outputs[i].rows * p->outputs[i].stride, m->gpu->number_bytes)) != NULL;
  if (!enough) snprintf(error, size, "not enough memory");
  return !enough;
}

/* Activations of zero, so that no kernel reads what nobody wrote. */
static int make_arena(pb_model *m, char *error, size_t size) {
  void *zeros = calloc(1, (size_t)m->program->arena_bytes + 1);
  if (!zeros) {
    snprintf(error, size, "not enough memory");
    return 1;
  }
  m->arena = make_buffer(m, CL_MEM_READ_WRITE, (size_t)m->program->arena_bytes, zeros, "activations", error, size);
  free(zeros);
  return !m->arena;
}

static int open_device(pb_model *m, char *error, size_t size) {
  cl_int code = CL_SUCCESS;
  if (pb_driver_find(&m->driver, error, size)) return 1;
  m->context = m->driver.cl.CreateContext(NULL, 1, &m->driver.device, NULL, NULL, &code);
  if (failed(m->context ? CL_SUCCESS : code, "the GPU", error, size)) return 1;
  m->queue = m->driver.cl.CreateCommandQueue(m->context, m->driver.device, CL_QUEUE_PROFILING_ENABLE, &code);
  return failed(m->queue ? CL_SUCCESS : code, "the GPU's queue", error, size);
}

/* Beside the weights, which are the model's own; nothing is kept without a file. */
static int build_kernels(pb_model *m, const char *weights, char *error, size_t size) {
  char *cache = NULL;
  if (weights && asprintf(&cache, "%s.kernels", weights) < 0) cache = NULL;
  int bad = pb_kernels_build(&m->built, &m->driver, m->context, m->program, m->gpu, cache, error, size);
  free(cache);
  return bad;
}

static void release(pb_model *m) {
  const pb_cl *cl = &m->driver.cl;
  for (int l = 0; m->kernels && l < m->gpu->launch_count; l++)
    if (m->kernels[l]) cl->ReleaseKernel(m->kernels[l]);
  for (int s = 0; s < m->program->step_count; s++) {
    if (m->images && m->images[s]) cl->ReleaseMemObject(m->images[s]);
    if (m->weights && m->weights[s]) cl->ReleaseMemObject(m->weights[s]);
  }
  if (m->arena) cl->ReleaseMemObject(m->arena);
  pb_kernels_free(&m->built, &m->driver);
  if (m->queue) cl->ReleaseCommandQueue(m->queue);
  if (m->context) cl->ReleaseContext(m->context);
  for (int i = 0; m->ids && i < m->program->input_count; i++) free(m->ids[i]);
  for (int i = 0; m->results && i < m->program->output_count; i++) free(m->results[i]);
  free(m->kernels);
  free(m->events);
  free(m->weights);
  free(m->images);
  free(m->ids);
  free(m->results);
  pthread_mutex_destroy(&m->turn);
  free(m);
}

pb_model *pb_open(const char *name, const char *weights, int threads, long rotate_bytes, char *error, size_t size) {
  const int index = find_program(name);
  (void)threads, (void)rotate_bytes;
  if (index < 0) {
    snprintf(error, size, "no program %s", name ? name : "without a name");
    return NULL;
  }
  pb_model *m = calloc(1, sizeof *m);
  if (!m) {
    snprintf(error, size, "not enough memory");
    return NULL;
  }
  m->program = &pb_programs[index];
  m->gpu = &pb_gpu_programs[index];
  m->process = getpid();
  pthread_mutex_init(&m->turn, NULL);
  if (allocate(m, error, size) || open_device(m, error, size) || build_kernels(m, weights, error, size) ||
      make_arena(m, error, size) || load_weights(m, weights, error, size) || make_launches(m, error, size)) {
    release(m);
    return NULL;
  }
  return m;
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

static int refused(pb_model *m, cl_int code, const char *what) {
  return failed(code, what, m->message, sizeof m->message) ? PB_FAILED : 0;
}

static int copy_in(pb_model *m, const int64_t *const *inputs) {
  for (int i = 0; i < m->program->input_count; i++) {
    const pb_port *port = &m->program->inputs[i];
    for (int r = 0; r < port->rows; r++) {
      if (inputs[i][r] < 0 || inputs[i][r] >= port->limit) return 1 + i;
      m->ids[i][r] = (int32_t)inputs[i][r];
    }
  }
  for (int i = 0; i < m->program->input_count; i++) {
    const pb_port *port = &m->program->inputs[i];
    const size_t bytes = sizeof(int32_t) * (size_t)port->rows;
    cl_int code = m->driver.cl.EnqueueWriteBuffer(m->queue, m->arena, CL_FALSE, (size_t)port->offset, bytes, m->ids[i], 0,
                                                  NULL, NULL);
    if (code != CL_SUCCESS) return refused(m, code, "writing the inputs");
  }
  return 0;
}

static int enqueue(pb_model *m, int profiled) {
  for (int l = 0; l < m->gpu->launch_count; l++) {
    const pb_launch *launch = &m->gpu->launches[l];
    cl_int code = m->driver.cl.EnqueueNDRangeKernel(m->queue, m->kernels[l], 2, NULL, launch->items, launch->group, 0,
                                                    NULL, profiled ? &m->events[l] : NULL);
    if (code != CL_SUCCESS) return refused(m, code, m->gpu->kernels[launch->kernel].name);
    if (m->gpu->flush_every && (l + 1) % m->gpu->flush_every == 0) m->driver.cl.Flush(m->queue);
  }
  return 0;
}

static float from_half(uint16_t half) {
  const uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = half >> 10 & 31, fraction = half & 1023;
  union {
    uint32_t bits;
    float value;
  } number;
  if (exponent == 31) number.bits = sign | 0x7f800000u | fraction << 13;
  else if (exponent) number.bits = sign | (exponent + 112) << 23 | fraction << 13;
  else {
    number.value = (float)fraction / (1 << 24);
    number.bits |= sign;
  }
  return number.value;
}

static void give_out(const pb_model *m, const pb_port *port, const char *from, float *to) {
  for (int r = 0; r < port->rows; r++)
    for (int n = 0; n < port->columns; n++) {
      const long at = (long)r * port->stride + n;
      to[(long)r * port->columns + n] =
          m->gpu->number_bytes == 2 ? from_half(((const uint16_t *)from)[at]) : ((const float *)from)[at];
    }
}

/* Reads wait for all that was enqueued before. */
static int copy_out(pb_model *m, float *const *outputs) {
  for (int i = 0; i < m->program->output_count; i++) {
    const pb_port *port = &m->program->outputs[i];
    const size_t numbers = (size_t)(port->rows - 1) * port->stride + port->columns;
    cl_int code = m->driver.cl.EnqueueReadBuffer(m->queue, m->arena, CL_TRUE, (size_t)port->offset,
                                                 numbers * m->gpu->number_bytes, m->results[i], 0, NULL, NULL);
    if (code != CL_SUCCESS) return refused(m, code, "the run");
    give_out(m, port, m->results[i], outputs[i]);
  }
  return refused(m, m->driver.cl.Finish(m->queue), "the run");
}

static int run_once(pb_model *m, const int64_t *const *inputs, float *const *outputs, int profiled) {
  int result = copy_in(m, inputs);
  if (!result) result = enqueue(m, profiled);
  return result ? result : copy_out(m, outputs);
}

int pb_run(pb_model *m, const int64_t *const *inputs, float *const *outputs) {
  int result = take_turn(m);
  if (result) return result;
  result = run_once(m, inputs, outputs, 0);
  pthread_mutex_unlock(&m->turn);
  return result;
}

/* Milliseconds of each step by the device's own clock, of the run that was profiled. */
static void read_events(pb_model *m, double *step_ms) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    step_ms[s] = 0;
    for (int l = step->first_launch; l < step->first_launch + step->launch_count; l++) {
      cl_ulong began = 0, ended = 0;
      m->driver.cl.GetEventProfilingInfo(m->events[l], CL_PROFILING_COMMAND_START, sizeof began, &began, NULL);
      m->driver.cl.GetEventProfilingInfo(m->events[l], CL_PROFILING_COMMAND_END, sizeof ended, &ended, NULL);
      step_ms[s] += (double)(ended - began) * 1e-6;
    }
  }
}

static void release_events(pb_model *m) {
  for (int l = 0; l < m->gpu->launch_count; l++) {
    if (m->events[l]) m->driver.cl.ReleaseEvent(m->events[l]);
    m->events[l] = NULL;
  }
}

/* Wall times are taken without events, which cost some drivers as much as a launch; steps are timed in a few runs more,
   whose times the rows of `step_ms` repeat. */
static int time_runs(pb_model *m, const int64_t *const *inputs, float *const *outputs, int warmup, int runs,
                     double *run_ms, double *step_ms) {
  const int steps = m->program->step_count, profiled = runs < PB_PROFILED_RUNS ? runs : PB_PROFILED_RUNS;
  double device_ms = 0, wall_ms = 0;
  for (long run = 0; run < (long)warmup + runs; run++) {
    const double start = pb_now_ms();
    const int result = run_once(m, inputs, outputs, 0);
    if (result) return result;
    run_ms[run] = pb_now_ms() - start;
  }
  for (int run = 0; run < profiled; run++) {
    const double start = pb_now_ms();
    const int result = run_once(m, inputs, outputs, 1);
    wall_ms += pb_now_ms() - start;
    if (!result) read_events(m, step_ms + (long)run * steps);
    release_events(m);
    if (result) return result;
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

long pb_memory_bytes(const pb_model *m) { return m->bytes; }

const char *pb_message(const pb_model *m) { return m->message; }

const pb_program *pb_program_of(const pb_model *m) { return m->program; }

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
