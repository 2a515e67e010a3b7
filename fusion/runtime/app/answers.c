/* Answers: labels, entities and vectors, made of a program's numbers as transformers' pipelines make them. */
#include "app/text_model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scores of a row in place. The largest of a softmax is taken off first, so that no exponential is infinite. */
static void score(float *row, int count) {
  float most = row[0], sum = 0;
  if (pb_model_answers.function == PB_AS_IT_IS) return;
  if (pb_model_answers.function == PB_SIGMOID) {
    for (int i = 0; i < count; i++) row[i] = 1 / (1 + expf(-row[i]));
    return;
  }
  for (int i = 1; i < count; i++) most = row[i] > most ? row[i] : most;
  for (int i = 0; i < count; i++) sum += row[i] = expf(row[i] - most);
  for (int i = 0; i < count; i++) row[i] /= sum;
}

static int by_score(const void *a, const void *b) {
  const pb_label *x = a, *y = b;
  return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : x->index - y->index;
}

int pb_classify(pb_text_model *m, const char *text, size_t text_bytes, const char *pair, size_t pair_bytes,
                pb_label *labels, int count, int *removed, char *error, size_t size) {
  const pb_question question = {m, text, pair, text_bytes, pair_bytes, removed, error, size};
  const int all = pb_model_answers.label_count, filled = count < all ? count : all;
  pb_reply reply;
  if (pb_ask(&question, PB_CLASSIFIES, &reply)) return -1;
  pb_label *sorted = malloc(sizeof *sorted * (size_t)all);
  if (sorted) {
    score(reply.numbers, all);
    for (int i = 0; i < all; i++) sorted[i] = (pb_label){pb_model_answers.labels[i], i, reply.numbers[i]};
    qsort(sorted, (size_t)all, sizeof *sorted, by_score);
    if (filled > 0) memcpy(labels, sorted, sizeof *sorted * (size_t)filled);
  } else snprintf(error, size, "not enough memory for %d labels", all);
  const int result = sorted ? filled < 0 ? 0 : filled : -1;
  free(sorted);
  pb_reply_free(&reply);
  return result;
}

int pb_embed(pb_text_model *m, const char *text, size_t text_bytes, const char *pair, size_t pair_bytes, float *vector,
             int count, int *removed, char *error, size_t size) {
  const pb_question question = {m, text, pair, text_bytes, pair_bytes, removed, error, size};
  pb_reply reply;
  if (pb_ask(&question, PB_EMBEDS, &reply)) return -1;
  const int right = count == m->output->columns;
  if (right) memcpy(vector, reply.numbers, sizeof *vector * (size_t)count);
  else snprintf(error, size, "the model's vectors have %d numbers, not %d", m->output->columns, count);
  pb_reply_free(&reply);
  return right ? 0 : -1;
}

/* A token's label: of what kind an entity of it is, whether it begins one, and what it is called. */
typedef struct {
  const char *tag;
  const char *name;
  int label;
  int begins;
  float score;
} token_label;

/* As transformers reads labels (TokenClassificationPipeline, aggregation "simple"). */
static token_label label_of(float *row, int count) {
  int best = 0;
  score(row, count);
  for (int i = 1; i < count; i++)
    if (row[i] > row[best]) best = i;
  const char *label = pb_model_answers.labels[best], *hyphen = strchr(label, '-');
  const int prefixed = hyphen == label + 1 && (label[0] == 'B' || label[0] == 'I');
  const char *name = hyphen ? hyphen + 1 : label;
  return (token_label){prefixed ? label + 2 : label, name, best, prefixed && label[0] == 'B', row[best]};
}

/* An entity that further tokens may join. */
typedef struct {
  pb_entity entity;
  const char *tag; /* NULL before the first token */
  double scores;
  int tokens;
} open_entity;

/* Ends an entity: writes it where there is room, unless it is none. Returns how many there are now. */
static int end_entity(const open_entity *open, pb_entity *entities, int count, int found) {
  if (!open->tag || !strcmp(open->entity.name, "O")) return found;
  if (found < count) {
    entities[found] = open->entity;
    entities[found].score = (float)(open->scores / open->tokens);
  }
  return found + 1;
}

static int find_entities(const pb_question *q, const pb_reply *reply, pb_entity *entities, int count) {
  const pb_port *output = q->model->output;
  open_entity open = {0};
  int found = 0;
  for (int token = 0; token < reply->positions; token++) {
    const pb_span span = reply->spans[token];
    if (span.sequence < 0) continue;
    const token_label label = label_of(reply->numbers + (long)token * output->columns, output->columns);
    if (!open.tag || label.begins || strcmp(label.tag, open.tag)) {
      found = end_entity(&open, entities, count, found);
      open = (open_entity){{label.name, label.label, 0, span.start, span.end}, label.tag, 0, 0};
    }
    open.entity.end = span.end;
    open.scores += label.score;
    open.tokens++;
  }
  return end_entity(&open, entities, count, found);
}

int pb_find_entities(pb_text_model *m, const char *text, size_t text_bytes, pb_entity *entities, int count, int *removed,
                     char *error, size_t size) {
  const pb_question question = {m, text, NULL, text_bytes, 0, removed, error, size};
  pb_reply reply;
  if (pb_ask(&question, PB_FINDS_ENTITIES, &reply)) return -1;
  const int found = find_entities(&question, &reply, entities, count);
  pb_reply_free(&reply);
  return found;
}
