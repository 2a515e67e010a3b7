/* Models that take texts: a program and a tokenizer that belong together. */
#include "app/text_model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_ALIGNMENT 8 /* of pb_tokenizer_open */

static const char *const INPUTS[] = {"input_ids", "token_type_ids", "attention_mask"};
enum { IDS, TYPES, MASK, INPUT_KINDS };

static int kind_of_input(const char *name) {
  int kind = 0;
  while (kind < INPUT_KINDS && strcmp(INPUTS[kind], name)) kind++;
  return kind;
}

static int length_of(const pb_text_model *m) { return pb_program_of(m->model)->inputs[0].rows; }

/* Whether texts give all that the program takes, and the answers are among what it gives. */
static int check_program(const pb_text_model *m, char *error, size_t size) {
  const pb_program *p = pb_program_of(m->model);
  for (int i = 0; i < p->input_count; i++) {
    if (kind_of_input(p->inputs[i].name) < INPUT_KINDS && p->inputs[i].rows == p->inputs[0].rows) continue;
    snprintf(error, size, "the model takes an input '%s', which is nothing of a text's", p->inputs[i].name);
    return 1;
  }
  if (p->input_count) return 0;
  snprintf(error, size, "the model takes no input");
  return 1;
}

static int open_parts(pb_text_model *m, const pb_source *weights, const pb_source *tokenizer, int threads,
                      const char *kernels, char *error, size_t size) {
  const pb_wanted table = {"the tables of the tokenizer", tokenizer, PB_ALL_BYTES, TABLE_ALIGNMENT};
  if (pb_bytes_take(&m->table, &table, error, size)) return 1;
  m->tokenizer = pb_tokenizer_open(m->table.start, m->table.count, error, size);
  if (!m->tokenizer) return 1;
  m->model = pb_open_from(pb_model_answers.program, weights, threads, kernels, error, size);
  if (!m->model || check_program(m, error, size)) return 1;
  m->output = &pb_program_of(m->model)->outputs[pb_model_answers.output];
  return 0;
}

pb_text_model *pb_text_open(const pb_source *weights, const pb_source *tokenizer, int threads, const char *kernels,
                            char *error, size_t size) {
  pb_text_model *m = calloc(1, sizeof *m);
  if (!m) snprintf(error, size, "not enough memory");
  else if (open_parts(m, weights, tokenizer, threads, kernels, error, size)) {
    pb_text_close(m);
    m = NULL;
  }
  return m;
}

void pb_text_close(pb_text_model *m) {
  if (!m) return;
  pb_close(m->model);
  pb_tokenizer_close(m->tokenizer);
  pb_bytes_release(&m->table);
  free(m);
}

int pb_answer_kind(const pb_text_model *m) {
  (void)m;
  return pb_model_answers.kind;
}

int pb_answer_size(const pb_text_model *m) {
  return pb_model_answers.kind == PB_FINDS_ENTITIES ? length_of(m) : m->output->columns;
}

const char *pb_label_name(const pb_text_model *m, int index) {
  (void)m;
  return index >= 0 && index < pb_model_answers.label_count ? pb_model_answers.labels[index] : NULL;
}

static int fail(const pb_question *q, const char *line) {
  snprintf(q->error, q->size, "%s", line);
  return -1;
}

static int check_kind(const pb_question *q, int kind) {
  static const char *const ways[] = {"labels: ask pb_classify", "entities: ask pb_find_entities", "a vector: ask pb_embed"};
  if (pb_model_answers.kind == kind) return 0;
  snprintf(q->error, q->size, "the model answers with %s", ways[pb_model_answers.kind - 1]);
  return -1;
}

/* Memory of a question: its numbers of each kind of input, spans, and all outputs, one after the other. */
static int make_room(const pb_question *q, pb_reply *reply, int64_t **numbers, float **outputs) {
  const pb_program *p = pb_program_of(q->model->model);
  const size_t length = (size_t)length_of(q->model);
  size_t bytes = length * (INPUT_KINDS * sizeof(int64_t) + sizeof(pb_span));
  for (int i = 0; i < p->output_count; i++) bytes += sizeof(float) * (size_t)p->outputs[i].rows * p->outputs[i].columns;
  char *at = reply->memory = malloc(bytes);
  if (!at) return fail(q, "not enough memory for a text");
  for (int kind = 0; kind < INPUT_KINDS; kind++, at += length * sizeof(int64_t)) numbers[kind] = (int64_t *)at;
  reply->spans = (pb_span *)at;
  at += length * sizeof(pb_span);
  for (int i = 0; i < p->output_count; i++) {
    outputs[i] = (float *)at;
    at += sizeof(float) * (size_t)p->outputs[i].rows * p->outputs[i].columns;
  }
  return 0;
}

/* An id that the table does not have is the model's tokenizer's fault, or another model's tokenizer. */
static int run(const pb_question *q, int64_t **numbers, float **outputs) {
  const pb_program *p = pb_program_of(q->model->model);
  const int64_t *inputs[INPUT_KINDS];
  for (int i = 0; i < p->input_count; i++) inputs[i] = numbers[kind_of_input(p->inputs[i].name)];
  const int result = pb_run(q->model->model, inputs, outputs);
  if (result == PB_FAILED) return fail(q, pb_message(q->model->model));
  if (result < 0) return fail(q, "the model is closed");
  if (result) snprintf(q->error, q->size, "the tokenizer gives '%s' beyond what the model has: it is another model's",
                       p->inputs[result - 1].name);
  return result ? -1 : 0;
}

static void shift(int64_t *numbers, int used, int length) {
  const int64_t padding = numbers[0];
  memmove(numbers, numbers + length - used, sizeof *numbers * (size_t)used);
  for (int i = used; i < length; i++) numbers[i] = padding;
}

/* Texts begin at the first position, as without padding, also where the tokenizer pads before them: positions count, and
   heads read the first one. */
static void begin_at_first(int64_t **numbers, pb_span *spans, int used, int length) {
  if (used == length || numbers[MASK][0]) return;
  for (int kind = 0; kind < INPUT_KINDS; kind++) shift(numbers[kind], used, length);
  const pb_span none = spans[0];
  memmove(spans, spans + length - used, sizeof *spans * (size_t)used);
  for (int i = used; i < length; i++) spans[i] = none;
}

static int answer(const pb_question *q, pb_reply *reply, float **outputs) {
  int64_t *numbers[INPUT_KINDS];
  if (make_room(q, reply, numbers, outputs)) return -1;
  reply->positions = length_of(q->model);
  const int used = pb_tokenize(q->model->tokenizer, q->text, q->text_bytes, q->pair, q->pair_bytes, numbers[IDS],
                               numbers[TYPES], numbers[MASK], reply->spans, reply->positions, q->removed, q->error,
                               q->size);
  if (used < 0) return -1;
  begin_at_first(numbers, reply->spans, used, reply->positions);
  if (run(q, numbers, outputs)) return -1;
  reply->numbers = outputs[pb_model_answers.output];
  return 0;
}

int pb_ask(const pb_question *q, int kind, pb_reply *reply) {
  *reply = (pb_reply){0};
  if (check_kind(q, kind)) return -1;
  float **outputs = calloc((size_t)pb_program_of(q->model->model)->output_count, sizeof *outputs);
  const int failed = outputs ? answer(q, reply, outputs) : fail(q, "not enough memory for a text");
  free(outputs);
  if (failed) pb_reply_free(reply);
  return failed;
}

void pb_reply_free(pb_reply *reply) { free(reply->memory); }
