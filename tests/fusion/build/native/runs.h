/* What programs that run one model many times share: its inputs, and the outputs that every run must give. */
#ifndef RUNS_H
#define RUNS_H
#include "pocketbert.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUTS 4

static int64_t **inputs[INPUTS];
static float **expected[INPUTS];

static pb_model *open_model(const char *weights, int threads) {
  char error[512];
  pb_model *model = pb_open("model", weights, threads, 0, error, sizeof error);
  if (!model) fprintf(stderr, "%s\n", error);
  return model;
}

static size_t bytes_of(const pb_port *port) { return sizeof(float) * (size_t)port->rows * (size_t)port->columns; }

static float **make_outputs(const pb_program *program) {
  float **outputs = calloc((size_t)program->output_count, sizeof *outputs);
  for (int i = 0; i < program->output_count; i++) outputs[i] = calloc(1, bytes_of(&program->outputs[i]));
  return outputs;
}

static void free_outputs(const pb_program *program, float **outputs) {
  for (int i = 0; i < program->output_count; i++) free(outputs[i]);
  free(outputs);
}

static int64_t **make_inputs(const pb_program *program, int which) {
  int64_t **made = calloc((size_t)program->input_count, sizeof *made);
  for (int i = 0; i < program->input_count; i++) {
    const pb_port *port = &program->inputs[i];
    made[i] = calloc((size_t)port->rows, sizeof **made);
    for (int r = 0; r < port->rows; r++) made[i][r] = (r * 7 + which) % port->limit;
  }
  return made;
}

/* One run; whether its outputs are those that are expected. */
static int equal(pb_model *model, int which, float **outputs) {
  const pb_program *program = pb_program_of(model);
  int result = pb_run(model, (const int64_t *const *)inputs[which], outputs);
  if (result) fprintf(stderr, "pb_run returned %d\n", result);
  for (int i = 0; !result && i < program->output_count; i++)
    if (memcmp(outputs[i], expected[which][i], bytes_of(&program->outputs[i]))) {
      fprintf(stderr, "output %d of inputs %d differs\n", i, which);
      result = 1;
    }
  return !result;
}

/* Makes all inputs, and what the model makes of them. Returns 0, or what a run returned. */
static int expect_outputs(pb_model *model) {
  int failed = 0;
  for (int i = 0; !failed && i < INPUTS; i++) {
    inputs[i] = make_inputs(pb_program_of(model), i);
    expected[i] = make_outputs(pb_program_of(model));
    failed = pb_run(model, (const int64_t *const *)inputs[i], expected[i]);
  }
  return failed;
}

#endif
