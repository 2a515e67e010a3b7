/* A program's weights in memory: mapped from a file, or made up. */
#ifndef POCKETBERT_WEIGHTS_H
#define POCKETBERT_WEIGHTS_H
#include "pocketbert.h"

#define PB_ALIGNMENT 64

typedef struct {
  char *base;
  void *mapping; /* of the file, or NULL */
  size_t bytes;  /* that are held */
  long stride;   /* from copy to copy */
  long copies;
} pb_weights;

/* Zeroed memory in whole cache lines, for free(); NULL when there is not enough. */
void *pb_allocate(size_t bytes);

/* Maps the file that was made for the program. Returns 0, or 1 with one line in `error`. */
int pb_weights_map(pb_weights *weights, const pb_program *program, const char *path, char *error, size_t size);

/* Small pseudo-random numbers, in as many copies as `rotate_bytes` hold. Returns as pb_weights_map. */
int pb_weights_fill(pb_weights *weights, const pb_program *program, long rotate_bytes, char *error, size_t size);

void pb_weights_free(pb_weights *weights);

#endif
