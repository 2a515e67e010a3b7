/* Programs and their turns in a round, as a runner sees them: the same on a processor and on a GPU. */
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

extern const pb_program pb_programs[];
extern const int pb_program_count;

/* The program of that name, or NULL. */
const pb_program *pb_find_program(const char *name);

/* The same, with one line in `error` where there is none. */
const pb_program *pb_find_named(const char *name, char *error, size_t size);

/* The hash of a step's block. */
const char *pb_block_hash(const pb_program *program, int step);

/* How many kernels one run hands to a driver; 0 on a processor. */
int pb_launches(const pb_program *program);

/* Lines `key=value` of the GPU that the runner would use. Returns 0, or 1 with one line in `text` of what is wrong. */
int pb_describe(char *text, size_t size);

/* What a model is opened with, beside its programs. */
typedef struct {
  const pb_source *weights; /* NULL: they are made up */
  int threads;
  const char *kernels; /* as pb_open_from has it, or NULL */
} pb_opening;

/* As pb_open, for the programs of all visits: memory, threads and made-up weights are there once and serve them all;
   a source must hold the weights of each. It is open at the first visit. */
pb_model *pb_open_round(const pb_visit *visits, int count, pb_opening opening, char *error, size_t size);

/* Turns a model that was opened for it to a visit: its program, with activations of zero. Nothing may run meanwhile.
   Returns 0, or PB_FAILED, of which pb_message tells more. */
int pb_turn_to(pb_model *model, const pb_visit *visit);

/* Whether the weights of the first visit's program are those of all the others as well; else 0, with one line in
   `error`. */
int pb_are_one_program(const pb_visit *visits, int count, char *error, size_t size);

#endif
