/* A program's weights in memory: those of a source, or made up. */
#ifndef POCKETBERT_WEIGHTS_H
#define POCKETBERT_WEIGHTS_H
#include "source.h"
#include "visit.h"

#define PB_ALIGNMENT 64

typedef struct {
  const char *base;
  pb_bytes held; /* of a source; its start is NULL where they are made up */
  char *made;    /* or NULL */
  size_t bytes;  /* of all copies, or of the source */
  long stride;   /* from copy to copy */
  long copies;
} pb_weights;

/* Zeroed memory in whole cache lines, for free(); NULL when there is not enough. */
void *pb_allocate(size_t bytes);

/* Takes the weights that were made for the program; only a checksum would tell whether all their numbers are. Returns
   0, or 1 with one line in `error`. */
int pb_weights_open(pb_weights *weights, const pb_program *program, const pb_source *source, char *error, size_t size);

/* Small pseudo-random numbers, as many as the largest of the visits needs for all its copies; laid out for the first.
   Returns as pb_weights_open. */
int pb_weights_fill(pb_weights *weights, const pb_visit *visits, int count, char *error, size_t size);

/* Lays the numbers out for a visit: in as many copies of its weights as its `rotate_bytes` hold. A source's stay. */
void pb_weights_turn(pb_weights *weights, const pb_visit *visit);

void pb_weights_free(pb_weights *weights);

#endif
