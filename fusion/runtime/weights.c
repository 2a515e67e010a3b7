/* Weights: a file is mapped as it is, so that processes share it; for timing alone they are made up. */
#define _GNU_SOURCE
#include "weights.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PB_HEADER_BYTES 64
#define PB_ID_OFFSET 16
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

/* Whether the file begins as the program's weights do and has their length. */
static int check_file(int file, const pb_program *program, size_t bytes, const char *path, char *error, size_t size) {
  char header[PB_HEADER_BYTES];
  ssize_t got = pread(file, header, sizeof header, 0);
  if (got < 0) {
    snprintf(error, size, "cannot read the weights %s: %s", path, strerror(errno));
    return 1;
  }
  off_t held = lseek(file, 0, SEEK_END);
  if (held < 0 || (size_t)held != bytes) {
    snprintf(error, size, "the weights %s have %lld bytes, the program needs %zu", path, (long long)held, bytes);
    return 1;
  }
  if (memcmp(header, "PBWEIGHT", 8) || strncmp(header + PB_ID_OFFSET, program->id, PB_HEADER_BYTES - PB_ID_OFFSET)) {
    snprintf(error, size, "%s holds the weights of another program", path);
    return 1;
  }
  return 0;
}

int pb_weights_map(pb_weights *weights, const pb_program *program, const char *path, char *error, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* does not wait for the other end of a pipe */
  if (file < 0) {
    snprintf(error, size, "cannot open the weights %s: %s", path, strerror(errno));
    return 1;
  }
  size_t bytes = PB_HEADER_BYTES + (size_t)program->weight_bytes;
  int failed = check_file(file, program, bytes, path, error, size);
  void *mapping = failed ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  if (!failed && mapping == MAP_FAILED) snprintf(error, size, "cannot map the weights %s: %s", path, strerror(errno));
  close(file);
  if (mapping == MAP_FAILED) return 1;
  *weights = (pb_weights){(char *)mapping + PB_HEADER_BYTES, mapping, bytes, 0, 1};
  return 0;
}

void pb_weights_turn(pb_weights *weights, const pb_visit *visit) {
  if (weights->mapping) return;
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
  weights->base = reserve(most);
  if (!weights->base) {
    snprintf(error, size, "not enough memory for %zu bytes of weights", most);
    return 1;
  }
  fill(weights->base, most);
  return 0;
}

void pb_weights_free(pb_weights *weights) {
  if (weights->mapping) munmap(weights->mapping, weights->bytes);
  else free(weights->base);
  *weights = (pb_weights){0};
}
