// What programs of an app's model share: the ids that they feed it, a run, and outputs for the test to read. C and C++.
#ifndef APP_H
#define APP_H
#include "pocketbert.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int64_t **inputs;
  float **outputs;
} arrays;

static size_t numbers_of(const pb_port *port) { return (size_t)port->rows * (size_t)port->columns; }

// A mask of ones, token types of zero, other ids anywhere in their table.
static int64_t fed(const pb_port *port, int row) {
  if (!strcmp(port->name, "attention_mask")) return 1;
  return strcmp(port->name, "token_type_ids") ? (7 * row + 3) % port->limit : 0;
}

static arrays make_arrays(const pb_program *program) {
  arrays made;
  made.inputs = (int64_t **)calloc((size_t)program->input_count, sizeof *made.inputs);
  made.outputs = (float **)calloc((size_t)program->output_count, sizeof *made.outputs);
  for (int i = 0; i < program->input_count; i++) {
    made.inputs[i] = (int64_t *)calloc((size_t)program->inputs[i].rows, sizeof(int64_t));
    for (int row = 0; row < program->inputs[i].rows; row++) made.inputs[i][row] = fed(&program->inputs[i], row);
  }
  for (int i = 0; i < program->output_count; i++)
    made.outputs[i] = (float *)calloc(numbers_of(&program->outputs[i]), sizeof(float));
  return made;
}

static void free_arrays(const pb_program *program, arrays made) {
  for (int i = 0; i < program->input_count; i++) free(made.inputs[i]);
  for (int i = 0; i < program->output_count; i++) free(made.outputs[i]);
  free(made.inputs);
  free(made.outputs);
}

// A line of numbers for each output.
static void print_outputs(const pb_program *program, arrays made) {
  for (int i = 0; i < program->output_count; i++)
    for (size_t n = 0, count = numbers_of(&program->outputs[i]); n < count; n++)
      printf("%.9g%c", (double)made.outputs[i][n], n + 1 < count ? ' ' : '\n');
}

static int complain(const char *error) {
  fprintf(stderr, "error: %s\n", error);
  return 1;
}

#endif
