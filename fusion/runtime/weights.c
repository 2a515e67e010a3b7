/* Weights: those of a source are read where they lie; for timing alone they are made up. */
#define _GNU_SOURCE
#include "weights.h"
#include "checksum.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The header, as fusion/emit/weights.py writes it. */
#define PB_WEIGHTS_VERSION 2
#define PB_HEADER_BYTES 64
#define PB_VERSION_OFFSET 8
#define PB_ID_OFFSET 16
#define PB_CHECKSUM_OFFSET 56
#define PB_PERIOD_BYTES (1 << 16)

/* Memory in whole cache lines. */
static void *reserve(size_t bytes) {
  void *memory = NULL;
  size_t whole = (bytes + PB_ALIGNMENT) / PB_ALIGNMENT * PB_ALIGNMENT;
  return whole < bytes || posix_memalign(&memory, PB_ALIGNMENT, whole) ? NULL : memory;
}

void *pb_allocate(size_t bytes) {
  void *memory = reserve(bytes);
  return memory ? memset(memory, 0, bytes) : NULL;
}

static int refuse(const pb_source *source, const char *problem, char *error, size_t size) {
  char place[PB_PLACE_BYTES];
  pb_tell_place(source, place);
  snprintf(error, size, "the weights %s are %s", place, problem);
  return 1;
}

static uint64_t number_at(const char *header) {
  uint64_t number;
  memcpy(&number, header, sizeof number);
  return number;
}

/* What is wrong with a header of this program's weights; NULL where nothing is. The checksum is not computed. */
static const char *problem_of(const char *header, const pb_program *program) {
  char id[PB_CHECKSUM_OFFSET - PB_ID_OFFSET] = {0};
  snprintf(id, sizeof id, "%s", program->id);
  if (memcmp(header, "PBWEIGHT", PB_VERSION_OFFSET)) return "of another program";
  if (number_at(header + PB_VERSION_OFFSET) != PB_WEIGHTS_VERSION) return "of another version";
  if (memcmp(header + PB_ID_OFFSET, id, sizeof id)) return "of another program";
  return number_at(header + PB_CHECKSUM_OFFSET) > UINT32_MAX ? "damaged: there is no such checksum" : NULL;
}

/* The bytes of a program's weights with their header, which is the program's. */
static int take_checked(pb_bytes *bytes, const pb_program *program, const pb_source *source, char *error, size_t size) {
  /* No vector of kernels needs its numbers at more than a number's own alignment. */
  const pb_wanted wanted = {"the weights", source, PB_HEADER_BYTES + (size_t)program->weight_bytes, sizeof(float)};
  if (pb_bytes_take(bytes, &wanted, error, size)) return 1;
  const char *problem = problem_of(bytes->start, program);
  if (!problem) return 0;
  refuse(source, problem, error, size);
  pb_bytes_release(bytes);
  return 1;
}

int pb_weights_open(pb_weights *weights, const pb_program *program, const pb_source *source, char *error, size_t size) {
  pb_bytes bytes;
  if (take_checked(&bytes, program, source, error, size)) return 1;
  *weights = (pb_weights){.base = bytes.start + PB_HEADER_BYTES, .held = bytes, .copies = 1};
  weights->bytes = PB_HEADER_BYTES + (size_t)program->weight_bytes;
  return 0;
}

int pb_verify(const char *name, const pb_source *source, char *error, size_t size) {
  const pb_program *program = pb_find_named(name, error, size);
  pb_bytes bytes;
  if (!program || take_checked(&bytes, program, source, error, size)) return 1;
  const uint64_t written = number_at(bytes.start + PB_CHECKSUM_OFFSET);
  const int damaged = written != pb_checksum(bytes.start + PB_HEADER_BYTES, (size_t)program->weight_bytes);
  if (damaged) refuse(source, "damaged: their checksum is another", error, size);
  pb_bytes_release(&bytes);
  return damaged;
}

void pb_weights_turn(pb_weights *weights, const pb_visit *visit) {
  if (weights->held.start) return;
  const long stride = (visit->program->weight_bytes + PB_ALIGNMENT - 1) / PB_ALIGNMENT * PB_ALIGNMENT;
  weights->copies = stride && visit->rotate_bytes / stride > 1 ? visit->rotate_bytes / stride : 1;
  weights->stride = stride;
  weights->bytes = (size_t)(weights->copies * stride);
}

/* Fills memory with a period of numbers that are neither large nor tiny, again and again: the values do not matter to
   the time that is measured, and a round begins with this. */
static void fill(char *base, size_t bytes) {
  const size_t period = bytes < PB_PERIOD_BYTES ? bytes : PB_PERIOD_BYTES;
  uint32_t state = 12345;
  for (size_t i = 0; i < period / sizeof(float); i++) {
    state = state * 1664525u + 1013904223u;
    ((float *)base)[i] = ((int)(state >> 16) - 32768) * (1.0f / 1048576.0f);
  }
  for (size_t at = period; at < bytes; at += period)
    memcpy(base + at, base, bytes - at < period ? bytes - at : period);
}

int pb_weights_fill(pb_weights *weights, const pb_visit *visits, int count, char *error, size_t size) {
  size_t most = 0;
  for (int i = count - 1; i >= 0; i--) {
    pb_weights_turn(weights, &visits[i]);
    if (weights->bytes > most) most = weights->bytes;
  }
  weights->base = weights->made = reserve(most);
  if (!weights->made) {
    snprintf(error, size, "not enough memory for %zu bytes of weights", most);
    return 1;
  }
  fill(weights->made, most);
  return 0;
}

void pb_weights_free(pb_weights *weights) {
  pb_bytes_release(&weights->held);
  free(weights->made);
  *weights = (pb_weights){0};
}
