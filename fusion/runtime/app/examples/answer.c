/* Answers a text, or two, in C or C++. In this folder:

     cc answer.c model.so -lpthread -lm -Wl,-rpath,'$ORIGIN' -o answer && ./answer "a text"

   It is run from the folder of weights.bin and tokenizer.bin. */
#include "pocketbert_app.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PB_THREADS 2

static char error[512];

static int tell_labels(pb_text_model *model, const char *text, const char *pair, int *removed) {
  pb_label best;
  if (pb_classify(model, text, strlen(text), pair, pair ? strlen(pair) : 0, &best, 1, removed, error, sizeof error) < 0)
    return 1;
  printf("%s %.4f\n", best.name, best.score);
  return 0;
}

static int tell_entities(pb_text_model *model, const char *text, int *removed) {
  const int most = pb_answer_size(model);
  pb_entity *entities = (pb_entity *)calloc((size_t)most, sizeof *entities);
  if (!entities) return 1;
  const int count = pb_find_entities(model, text, strlen(text), entities, most, removed, error, sizeof error);
  for (int i = 0; i < count; i++)
    printf("%s %.4f, characters %d to %d\n", entities[i].name, entities[i].score, entities[i].start, entities[i].end);
  free(entities);
  return count < 0;
}

static int tell_vector(pb_text_model *model, const char *text, const char *pair, int *removed) {
  const int count = pb_answer_size(model);
  float *vector = (float *)calloc((size_t)count, sizeof *vector);
  if (!vector) return 1;
  const int failed = pb_embed(model, text, strlen(text), pair, pair ? strlen(pair) : 0, vector, count, removed, error,
                              sizeof error);
  for (int i = 0; !failed && i < count; i++) printf("%.6f%c", vector[i], i + 1 < count ? ' ' : '\n');
  free(vector);
  return failed;
}

static int tell(pb_text_model *model, const char *text, const char *pair, int *removed) {
  if (pair && pb_answer_kind(model) == PB_FINDS_ENTITIES)
    return snprintf(error, sizeof error, "the model finds entities in one text"), 1;
  switch (pb_answer_kind(model)) {
    case PB_CLASSIFIES: return tell_labels(model, text, pair, removed);
    case PB_FINDS_ENTITIES: return tell_entities(model, text, removed);
    default: return tell_vector(model, text, pair, removed);
  }
}

int main(int count, char **words) {
  if (count < 2 || count > 3) return fprintf(stderr, "usage: %s TEXT [PAIR]\n", words[0]), 2;
  pb_source weights, tokenizer;
  memset(&weights, 0, sizeof weights);
  weights.kind = PB_FROM_PATH;
  weights.path = "weights.bin";
  tokenizer = weights;
  tokenizer.path = "tokenizer.bin";
  pb_text_model *model = pb_text_open(&weights, &tokenizer, PB_THREADS, NULL, error, sizeof error);
  if (!model) return fprintf(stderr, "error: %s\n", error), 1;
  int removed = 0;
  const int failed = tell(model, words[1], count > 2 ? words[2] : NULL, &removed);
  if (failed) fprintf(stderr, "error: %s\n", error);
  if (removed) fprintf(stderr, "%d tokens were cut off: the model takes no more\n", removed);
  pb_text_close(model);
  return failed;
}
