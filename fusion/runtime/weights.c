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

void *pb_allocate(size_t bytes) {
  void *memory = NULL;
  size_t whole = (bytes + PB_ALIGNMENT) / PB_ALIGNMENT * PB_ALIGNMENT;
  if (whole < bytes || posix_memalign(&memory, PB_ALIGNMENT, whole)) return NULL;
  memset(memory, 0, whole);
  return memory;
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

int pb_weights_fill(pb_weights *weights, const pb_program *program, long rotate_bytes, char *error, size_t size) {
  const long bytes = program->weight_bytes, stride = (bytes + PB_ALIGNMENT - 1) / PB_ALIGNMENT * PB_ALIGNMENT;
  const long copies = stride && rotate_bytes / stride > 1 ? rotate_bytes / stride : 1;
  char *base = pb_allocate((size_t)(copies * stride));
  if (!base) {
    snprintf(error, size, "not enough memory for %ld bytes of weights", copies * stride);
    return 1;
  }
  uint32_t state = 12345;
  float *values = (float *)base;
  for (long i = 0; i < bytes / 4; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = ((int)(state >> 16) - 32768) * (1.0f / 1048576.0f);
  }
  for (long i = 1; i < copies; i++) memcpy(base + i * stride, base, (size_t)bytes);
  *weights = (pb_weights){base, NULL, (size_t)(copies * stride), stride, copies};
  return 0;
}

void pb_weights_free(pb_weights *weights) {
  if (weights->mapping) munmap(weights->mapping, weights->bytes);
  else free(weights->base);
  *weights = (pb_weights){0};
}
