/* A program's turn in a round of several. */
#ifndef POCKETBERT_VISIT_H
#define POCKETBERT_VISIT_H
#include "pocketbert.h"

/* One program's turn in a round: what to run, how often, and over how many bytes its made-up weights are spread. */
typedef struct {
  const pb_program *program;
  long rotate_bytes;
  int warmup;
  int runs;
} pb_visit;

#endif
