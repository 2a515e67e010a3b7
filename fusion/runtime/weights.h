/* A program's weights in memory: mapped from a file, or made up. */
#ifndef POCKETBERT_WEIGHTS_H
#define POCKETBERT_WEIGHTS_H
#include "visit.h"

#define PB_ALIGNMENT 64

typedef struct {
  char *base;
  void *mapping; /* of the file, or NULL */
  size_t bytes;  /* of all copies, or of the mapping */
  long stride;   /* from copy to copy */
  long copies;
} pb_weights;

/* Zeroed memory in whole cache lines, for free(); NULL when there is not enough. */
void *pb_allocate(size_t bytes);

/* Maps the file that was made for the program. Returns 0, or 1 with one line in `error`. */
int pb_weights_map(pb_weights *weights, const pb_program *program, const char *path, char *error, size_t size);

/* Small pseudo-random numbers, as many as the largest of the visits needs for all its copies; laid out for the first.
   Returns as pb_weights_map. */
int pb_weights_fill(pb_weights *weights, const pb_visit *visits, int count, char *error, size_t size);

/* Lays the numbers out for a visit: in as many copies of its weights as its `rotate_bytes` hold. A file's stay. */
void pb_weights_turn(pb_weights *weights, const pb_visit *visit);

void pb_weights_free(pb_weights *weights);

#endif
