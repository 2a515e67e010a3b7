/* A runner's answer to a text, as one JSON object. */
#include "app/answers.h"
#include "runner.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BYTES 1024

/* One text, or two, and what came of it. */
typedef struct {
  const char *text, *pair;
  size_t text_bytes, pair_bytes;
  int removed;
  char error[ERROR_BYTES];
} asked;

static void print_score(float score) {
  if (isfinite(score)) printf("%.9g", score);
  else printf("null");
}

static int tell_labels(pb_text_model *model, asked *a) {
  pb_label *labels = pb_need((size_t)pb_answer_size(model), sizeof *labels);
  const int count = pb_classify(model, a->text, a->text_bytes, a->pair, a->pair_bytes, labels, pb_answer_size(model),
                                &a->removed, a->error, sizeof a->error);
  if (count >= 0) printf("{\"labels\": [");
  for (int i = 0; i < count; i++) {
    printf("%s{\"name\": ", i ? ", " : "");
    pb_print_string(labels[i].name);
    printf(", \"score\": ");
    print_score(labels[i].score);
    printf("}");
  }
  free(labels);
  return count < 0;
}

static int tell_entities(pb_text_model *model, asked *a) {
  if (a->pair) pb_fail("--pair is for models that take two texts: this one finds entities in one");
  pb_entity *entities = pb_need((size_t)pb_answer_size(model), sizeof *entities);
  const int count = pb_find_entities(model, a->text, a->text_bytes, entities, pb_answer_size(model), &a->removed, a->error,
                                     sizeof a->error);
  if (count >= 0) printf("{\"entities\": [");
  for (int i = 0; i < count; i++) {
    printf("%s{\"name\": ", i ? ", " : "");
    pb_print_string(entities[i].name);
    printf(", \"score\": ");
    print_score(entities[i].score);
    printf(", \"start\": %d, \"end\": %d}", entities[i].start, entities[i].end);
  }
  free(entities);
  return count < 0;
}

static int tell_vector(pb_text_model *model, asked *a) {
  const int count = pb_answer_size(model);
  float *vector = pb_need((size_t)count, sizeof *vector);
  const int failed = pb_embed(model, a->text, a->text_bytes, a->pair, a->pair_bytes, vector, count, &a->removed, a->error,
                              sizeof a->error);
  if (!failed) printf("{\"vector\": [");
  for (int i = 0; !failed && i < count; i++) {
    printf("%s", i ? ", " : "");
    print_score(vector[i]);
  }
  free(vector);
  return failed;
}

static pb_text_model *open_model(const pb_arguments *a) {
  char error[ERROR_BYTES];
  if (!a->weights || !a->tokenizer) pb_fail("--text needs --weights FILE and --tokenizer FILE");
  const pb_source weights = {.kind = PB_FROM_PATH, .path = a->weights};
  const pb_source tokenizer = {.kind = PB_FROM_PATH, .path = a->tokenizer};
  pb_text_model *model = pb_text_open(&weights, &tokenizer, a->threads, NULL, error, sizeof error);
  if (!model) pb_fail("%s", error);
  return model;
}

void pb_tell_answer(const pb_arguments *a) {
  pb_text_model *model = open_model(a);
  asked question = {a->text, a->pair, strlen(a->text), a->pair ? strlen(a->pair) : 0, 0, ""};
  const int kind = pb_answer_kind(model);
  const int failed = kind == PB_CLASSIFIES        ? tell_labels(model, &question)
                     : kind == PB_FINDS_ENTITIES ? tell_entities(model, &question)
                                                 : tell_vector(model, &question);
  if (failed) pb_fail("%s", question.error);
  printf("], \"removed_tokens\": %d}\n", question.removed);
  pb_text_close(model);
}
