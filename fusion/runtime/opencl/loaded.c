/* A program on the device: its kernels are built, its weights and activations are there, its launches have arguments. */
#define _GNU_SOURCE
#include "opencl/loaded.h"
#include "weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PB_TEXEL 4 /* numbers */

static cl_mem make_buffer(pb_loaded *m, const pb_device *d, cl_bitfield flags, size_t bytes, const void *from, const char *what, char *error,
                          size_t size) {
  const size_t most = pb_driver_number(&d->driver, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  cl_int code = CL_SUCCESS;
  if (most && bytes > most) {
    snprintf(error, size, "%s takes %zu bytes, the device gives %zu at once", what, bytes, most);
    return NULL;
  }
  if (from) flags |= CL_MEM_COPY_HOST_PTR;
  cl_mem buffer = d->driver.cl.CreateBuffer(d->context, flags, bytes, (void *)from, &code);
  if (pb_refused(buffer ? CL_SUCCESS : code, what, error, size)) return NULL;
  m->bytes += (long)bytes;
  return buffer;
}

/* The matrix of a step as an image: the same bytes, read through another path. */
static cl_mem make_image(pb_loaded *m, const pb_device *d, const struct pb_step *step, cl_mem buffer, char *error, size_t size) {
  const size_t texels = (size_t)(step->matrix_bytes / (PB_TEXEL * m->gpu->number_bytes));
  const size_t most = pb_driver_number(&d->driver, CL_DEVICE_IMAGE_MAX_BUFFER_SIZE);
  const cl_image_format format = {CL_RGBA, m->gpu->number_bytes == 2 ? CL_HALF_FLOAT : CL_FLOAT};
  const cl_image_desc shape = {.type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .width = texels, .buffer = buffer};
  cl_int code = CL_SUCCESS;
  if (texels > most) {
    snprintf(error, size, "block %s needs an image of %zu texels, the device has %zu", step->hash, texels, most);
    return NULL;
  }
  cl_mem image = d->driver.cl.CreateImage(d->context, CL_MEM_READ_ONLY, &format, &shape, NULL, &code);
  pb_refused(image ? CL_SUCCESS : code, "an image of weights", error, size);
  return image;
}

static int take_weights(pb_loaded *m, const pb_device *d, const char *base, char *error, size_t size) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    int image = 0;
    if (!step->weight_bytes) continue;
    m->weights[s] = make_buffer(m, d, CL_MEM_READ_ONLY, (size_t)step->weight_bytes, base + step->weights, "weights", error,
                                size);
    if (!m->weights[s]) return 1;
    for (int l = 0; l < step->launch_count; l++)
      image |= m->gpu->kernels[m->gpu->launches[step->first_launch + l].kernel].image;
    if (image && !(m->images[s] = make_image(m, d, step, m->weights[s], error, size))) return 1;
  }
  return 0;
}

/* Half numbers of about a hundredth: what a float's bits are as halves may be anything. */
static void fill_halves(char *base, size_t bytes) {
  uint32_t state = 12345;
  for (size_t i = 0; i < bytes / 2; i++) {
    state = state * 1664525u + 1013904223u;
    ((uint16_t *)base)[i] = (uint16_t)((state >> 16 & 0x8000u) | 0x2000u | (state >> 20 & 0x3ffu));
  }
}

/* Weights go to the device from their source, or made up, and are not held beside. */
static int load_weights(pb_loaded *m, const pb_device *d, const pb_source *source, char *error, size_t size) {
  const pb_visit visit = {m->program, 0, 0, 0};
  pb_weights weights = {0};
  int bad = source ? pb_weights_open(&weights, m->program, source, error, size)
                   : pb_weights_fill(&weights, &visit, 1, error, size);
  if (bad) return 1;
  if (!source && m->gpu->number_bytes == 2) fill_halves(weights.made, weights.bytes);
  bad = take_weights(m, d, weights.base, error, size);
  pb_weights_free(&weights);
  return bad;
}

static int set_argument(pb_loaded *m, const pb_device *d, cl_kernel kernel, cl_uint *index, size_t bytes, const void *value) {
  return d->driver.cl.SetKernelArg(kernel, (*index)++, bytes, value) != CL_SUCCESS;
}

/* Arguments stay the same from run to run: the arena, the step's weights, perhaps their image, and places. */
static int set_arguments(pb_loaded *m, const pb_device *d, const struct pb_step *step, int s, cl_kernel kernel, int image) {
  cl_uint index = 0;
  const cl_mem weights = m->weights[s] ? m->weights[s] : m->arena;
  int32_t place = (int32_t)step->output;
  int bad = set_argument(m, d, kernel, &index, sizeof m->arena, &m->arena);
  bad |= set_argument(m, d, kernel, &index, sizeof weights, &weights);
  if (image) bad |= set_argument(m, d, kernel, &index, sizeof m->images[s], &m->images[s]);
  bad |= set_argument(m, d, kernel, &index, sizeof place, &place);
  for (int i = 0; i < step->input_count; i++) {
    place = (int32_t)step->inputs[i];
    bad |= set_argument(m, d, kernel, &index, sizeof place, &place);
  }
  return bad;
}

static int make_launch(pb_loaded *m, const pb_device *d, const struct pb_step *step, int s, int l, char *error, size_t size) {
  const pb_launch *launch = &m->gpu->launches[l];
  const pb_kernel *kernel = &m->gpu->kernels[launch->kernel];
  size_t most = 0;
  cl_int code = CL_SUCCESS;
  m->kernels[l] = d->driver.cl.CreateKernel(m->built.programs[launch->kernel], kernel->name, &code);
  if (pb_refused(m->kernels[l] ? CL_SUCCESS : code, kernel->name, error, size)) return 1;
  d->driver.cl.GetKernelWorkGroupInfo(m->kernels[l], d->driver.device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most,
                                      NULL);
  if (most && launch->group[0] * launch->group[1] > most) {
    snprintf(error, size, "kernel %s needs groups of %zu work-items, the device takes %zu", kernel->name,
             launch->group[0] * launch->group[1], most);
    return 1;
  }
  if (set_arguments(m, d, step, s, m->kernels[l], kernel->image)) {
    snprintf(error, size, "the driver takes other arguments for kernel %s", kernel->name);
    return 1;
  }
  return 0;
}

static int make_launches(pb_loaded *m, const pb_device *d, char *error, size_t size) {
  for (int s = 0; s < m->program->step_count; s++) {
    const struct pb_step *step = &m->program->steps[s];
    for (int l = step->first_launch; l < step->first_launch + step->launch_count; l++)
      if (make_launch(m, d, step, s, l, error, size)) return 1;
  }
  return 0;
}

static int allocate(pb_loaded *m, char *error, size_t size) {
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
    enough = (m->results[i] = calloc((size_t)p->outputs[i].rows * p->outputs[i].stride, sizeof(float))) != NULL;
  if (!enough) snprintf(error, size, "not enough memory");
  return !enough;
}

/* Activations of zero, so that no kernel reads what nobody wrote. */
static int make_arena(pb_loaded *m, const pb_device *d, char *error, size_t size) {
  void *zeros = calloc(1, (size_t)m->program->arena_bytes + 1);
  if (!zeros) {
    snprintf(error, size, "not enough memory");
    return 1;
  }
  m->arena = make_buffer(m, d, CL_MEM_READ_WRITE, (size_t)m->program->arena_bytes, zeros, "activations", error, size);
  free(zeros);
  return !m->arena;
}

void pb_unload(pb_loaded *m, const pb_device *d) {
  const pb_cl *cl = &d->driver.cl;
  for (int l = 0; m->kernels && l < m->gpu->launch_count; l++)
    if (m->kernels[l]) cl->ReleaseKernel(m->kernels[l]);
  for (int s = 0; m->program && s < m->program->step_count; s++) {
    if (m->images && m->images[s]) cl->ReleaseMemObject(m->images[s]);
    if (m->weights && m->weights[s]) cl->ReleaseMemObject(m->weights[s]);
  }
  if (m->arena) cl->ReleaseMemObject(m->arena);
  pb_kernels_free(&m->built, &d->driver);
  for (int i = 0; m->ids && i < m->program->input_count; i++) free(m->ids[i]);
  for (int i = 0; m->results && i < m->program->output_count; i++) free(m->results[i]);
  free(m->kernels);
  free(m->events);
  free(m->weights);
  free(m->images);
  free(m->ids);
  free(m->results);
  *m = (pb_loaded){0};
}

int pb_load(pb_loaded *m, const pb_device *d, const pb_program *program, const pb_source *weights,
            const char *kernels, char *error, size_t size) {
  *m = (pb_loaded){.program = program, .gpu = &pb_gpu_programs[program - pb_programs]};
  if (!allocate(m, error, size) &&
      !pb_kernels_build(&m->built, &d->driver, d->context, m->gpu, kernels, error, size) &&
      !make_arena(m, d, error, size) && !load_weights(m, d, weights, error, size) && !make_launches(m, d, error, size))
    return 0;
  pb_unload(m, d);
  return 1;
}
