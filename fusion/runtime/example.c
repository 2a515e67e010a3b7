/* Runs the model once and prints its outputs, and which label scores highest in each row, in C or C++. In this folder:

     cc example.c model.so -lpthread -Wl,-rpath,'$ORIGIN' -o example && ./example weights.bin

   Run from another folder, it finds model.so beside itself (by the rpath, and since model.so is named without a folder);
   it is told where weights.bin is. */
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PB_THREADS
#define PB_THREADS 2
#endif

/* What the example feeds: a mask of ones, token type 0, other ids in their table's range and beyond its first few, which
   often mean padding. A real program puts its tokenizer's numbers here. */
static int64_t example_number(const pb_port *port, int position) {
  if (!strcmp(port->name, "attention_mask")) return 1;
  if (!strcmp(port->name, "token_type_ids")) return 0;
  return port->limit > 8 ? 4 + position % (port->limit - 4) : position % port->limit;
}

static void print_output(const pb_port *port, const float *values) {
  printf("%s [%d, %d]\n", port->name, port->rows, port->columns);
  for (int row = 0; row < port->rows; row++)
    for (int column = 0; column < port->columns; column++)
      printf("%.9g%c", values[(size_t)row * port->columns + column], column + 1 < port->columns ? ' ' : '\n');
}

#ifdef PB_LABELLED_OUTPUT
/* The names of labels that the scores [rows x PB_LABEL_COUNT] are highest for. */
static void print_labels(const pb_port *port, const float *scores) {
  for (int row = 0; row < port->rows; row++) {
    int best = 0;
    for (int label = 1; label < PB_LABEL_COUNT; label++)
      if (scores[row * PB_LABEL_COUNT + label] > scores[row * PB_LABEL_COUNT + best]) best = label;
    printf("%d: %s\n", row, pb_labels[best]);
  }
}
#endif

/* Runs the model and prints all outputs. Returns 0, or what pb_run returned. */
static int run(pb_model *model, int64_t **inputs, float **outputs) {
  const pb_program *program = pb_program_of(model);
  int result = pb_run(model, (const int64_t *const *)inputs, outputs);
  if (result > 0) fprintf(stderr, "error: input %s holds a number out of range\n", program->inputs[result - 1].name);
  else if (result < 0) fprintf(stderr, "error: the model is stopped\n");
  for (int i = 0; !result && i < program->output_count; i++) print_output(&program->outputs[i], outputs[i]);
#ifdef PB_LABELLED_OUTPUT
  if (!result) print_labels(&program->outputs[PB_LABELLED_OUTPUT], outputs[PB_LABELLED_OUTPUT]);
#endif
  return result;
}

static int64_t **make_inputs(const pb_program *program) {
  int64_t **inputs = (int64_t **)calloc((size_t)program->input_count + 1, sizeof *inputs);
  for (int i = 0; inputs && i < program->input_count; i++) {
    const pb_port *port = &program->inputs[i];
    inputs[i] = (int64_t *)calloc((size_t)port->rows, sizeof **inputs);
    for (int row = 0; inputs[i] && row < port->rows; row++) inputs[i][row] = example_number(port, row);
  }
  return inputs;
}

static float **make_outputs(const pb_program *program) {
  float **outputs = (float **)calloc((size_t)program->output_count + 1, sizeof *outputs);
  for (int i = 0; outputs && i < program->output_count; i++)
    outputs[i] = (float *)calloc((size_t)program->outputs[i].rows * (size_t)program->outputs[i].columns, sizeof **outputs);
  return outputs;
}

/* Whether there was memory for all arrays. */
static int complete(void **arrays, int count) {
  for (int i = 0; arrays && i < count; i++)
    if (!arrays[i]) return 0;
  return arrays != NULL;
}

static void free_arrays(void **arrays, int count) {
  for (int i = 0; arrays && i < count; i++) free(arrays[i]);
  free(arrays);
}

int main(int count, char **words) {
  char error[512];
  pb_model *model = pb_open("model", count > 1 ? words[1] : "weights.bin", PB_THREADS, 0, error, sizeof error);
  if (!model) {
    fprintf(stderr, "error: %s\n", error);
    return 1;
  }
  const pb_program *program = pb_program_of(model);
  int64_t **inputs = make_inputs(program);
  float **outputs = make_outputs(program);
  int enough = complete((void **)inputs, program->input_count) && complete((void **)outputs, program->output_count);
  if (!enough) fprintf(stderr, "error: not enough memory\n");
  int failed = !enough || run(model, inputs, outputs);
  free_arrays((void **)inputs, program->input_count);
  free_arrays((void **)outputs, program->output_count);
  pb_close(model);
  return failed;
}
