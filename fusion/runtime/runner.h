/* The parts of the runner. */
#ifndef POCKETBERT_RUNNER_H
#define POCKETBERT_RUNNER_H
#include "visit.h"

/* What the command line asks for: one program, a `round`, or an answer to a `text`. `inputs` are the words NAME=1,2,3
   after --input. */
typedef struct {
  const char *program, *round, *weights, *affinity, *text, *pair, *tokenizer;
  int threads, warmup, runs, fill;
  long rotate;
  const char **inputs;
  int input_count;
} pb_arguments;

/* Prints one line on standard error and ends the process with status 2. */
_Noreturn void pb_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory that is zero, or pb_fail. */
void *pb_need(size_t count, size_t size);

/* Reads the command line; pb_fail on the first word that is not understood. Asked for its help or its GPU, the process
   prints that and ends. */
pb_arguments pb_read_arguments(int count, char **words);

/* A whole number from `least` to `most`; pb_fail names what it is for. */
long pb_read_number(const char *what, const char *text, long least, long most);

/* The visits of a round, at least one, from a file, or from standard input where it is "-"; pb_fail on the first line
   that is not understood. */
pb_visit *pb_read_round(const char *path, int *count);

/* One array for each input of the program: the numbers that were given, or what stands for those that were not. */
int64_t **pb_read_inputs(const pb_arguments *arguments, const pb_program *program);

/* Prints what the model answers to the arguments' text. */
void pb_tell_answer(const pb_arguments *arguments);

/* A JSON string, quotes included. */
void pb_print_string(const char *text);

/* A JSON list with its key and a comma after it, in milliseconds. */
void pb_print_times(const char *key, const double *values, int count);

/* The keys "outputs" (null stands for what is not finite) and "non_finite" (where those are, and what), with a comma
   after each. */
void pb_print_outputs(const pb_program *program, float **outputs);

#endif
