/* Runs: ids are written, every kernel is enqueued without waiting, outputs are read. */
#include "opencl/loaded.h"
#include <stdio.h>

/* What a run takes along. */
typedef struct {
  pb_loaded *loaded;
  const pb_device *device;
  char *error;
  size_t size;
} running;

static int refused(const running *r, cl_int code, const char *what) {
  return pb_refused(code, what, r->error, r->size) ? PB_FAILED : 0;
}

static int copy_in(const running *r, const int64_t *const *inputs) {
  const pb_program *p = r->loaded->program;
  for (int i = 0; i < p->input_count; i++)
    for (int row = 0; row < p->inputs[i].rows; row++) {
      if (inputs[i][row] < 0 || inputs[i][row] >= p->inputs[i].limit) return 1 + i;
      r->loaded->ids[i][row] = (int32_t)inputs[i][row];
    }
  for (int i = 0; i < p->input_count; i++) {
    const size_t bytes = sizeof(int32_t) * (size_t)p->inputs[i].rows;
    cl_int code = r->device->driver.cl.EnqueueWriteBuffer(r->device->queue, r->loaded->arena, CL_FALSE,
                                                          (size_t)p->inputs[i].offset, bytes, r->loaded->ids[i], 0, NULL,
                                                          NULL);
    if (code != CL_SUCCESS) return refused(r, code, "writing the inputs");
  }
  return 0;
}

static int enqueue(const running *r, int profiled) {
  const pb_gpu_program *gpu = r->loaded->gpu;
  for (int l = 0; l < gpu->launch_count; l++) {
    const pb_launch *launch = &gpu->launches[l];
    cl_int code = r->device->driver.cl.EnqueueNDRangeKernel(r->device->queue, r->loaded->kernels[l], 2, NULL,
                                                            launch->items, launch->group, 0, NULL,
                                                            profiled ? &r->loaded->events[l] : NULL);
    if (code != CL_SUCCESS) return refused(r, code, gpu->kernels[launch->kernel].name);
    if (gpu->flush_every && (l + 1) % gpu->flush_every == 0) r->device->driver.cl.Flush(r->device->queue);
  }
  return 0;
}

static void give_out(const pb_port *port, const float *from, float *to) {
  for (int row = 0; row < port->rows; row++)
    for (int column = 0; column < port->columns; column++)
      to[(long)row * port->columns + column] = from[(long)row * port->stride + column];
}

/* Reads wait for all that was enqueued before. */
static int copy_out(const running *r, float *const *outputs) {
  const pb_program *p = r->loaded->program;
  for (int i = 0; i < p->output_count; i++) {
    const pb_port *port = &p->outputs[i];
    const size_t numbers = (size_t)(port->rows - 1) * port->stride + port->columns;
    cl_int code = r->device->driver.cl.EnqueueReadBuffer(r->device->queue, r->loaded->arena, CL_TRUE,
                                                         (size_t)port->offset, numbers * sizeof(float),
                                                         r->loaded->results[i], 0, NULL, NULL);
    if (code != CL_SUCCESS) return refused(r, code, "the run");
    give_out(port, r->loaded->results[i], outputs[i]);
  }
  return refused(r, r->device->driver.cl.Finish(r->device->queue), "the run");
}

static void release_events(pb_loaded *m, const pb_device *d) {
  for (int l = 0; l < m->gpu->launch_count; l++) {
    if (m->events[l]) d->driver.cl.ReleaseEvent(m->events[l]);
    m->events[l] = NULL;
  }
}

int pb_go(pb_loaded *m, const pb_device *d, const int64_t *const *inputs, float *const *outputs, int profiled,
          char *error, size_t size) {
  const running r = {m, d, error, size};
  int result = copy_in(&r, inputs);
  if (!result) result = enqueue(&r, profiled);
  if (!result) result = copy_out(&r, outputs);
  if (result) release_events(m, d);
  return result;
}

void pb_take_times(pb_loaded *m, const pb_device *d, double *step_ms) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    step_ms[s] = 0;
    for (int l = step->first_launch; l < step->first_launch + step->launch_count; l++) {
      cl_ulong began = 0, ended = 0;
      d->driver.cl.GetEventProfilingInfo(m->events[l], CL_PROFILING_COMMAND_START, sizeof began, &began, NULL);
      d->driver.cl.GetEventProfilingInfo(m->events[l], CL_PROFILING_COMMAND_END, sizeof ended, &ended, NULL);
      step_ms[s] += (double)(ended - began) * 1e-6;
    }
  }
  release_events(m, d);
}
