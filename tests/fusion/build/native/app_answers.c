/* An app without Java that asks about texts: loads its library by what stands in for Android's loader, and prints an answer
   for each line of a file, as answers.cpp does.

   app_answers LIBRARY WEIGHTS TOKENIZER TEXTS */
#include "bionic_loader.h"

#include "pocketbert_app.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 4096

static char error[512];

static struct {
  __typeof__(pb_text_open) *text_open;
  __typeof__(pb_text_close) *text_close;
  __typeof__(pb_answer_kind) *answer_kind;
  __typeof__(pb_answer_size) *answer_size;
  __typeof__(pb_classify) *classify;
  __typeof__(pb_find_entities) *find_entities;
  __typeof__(pb_embed) *embed;
} library;

static int complain(const char *line) {
  fprintf(stderr, "error: %s\n", line);
  return 1;
}

static int look_up(void *handle) {
#define LOOK_UP(function) \
  if (!(*(void **)&library.function = find(handle, "pb_" #function))) return complain("the library lacks pb_" #function);
  LOOK_UP(text_open)
  LOOK_UP(text_close)
  LOOK_UP(answer_kind)
  LOOK_UP(answer_size)
  LOOK_UP(classify)
  LOOK_UP(find_entities)
  LOOK_UP(embed)
  return 0;
}

static int classify(pb_text_model *model, const char *text, const char *pair) {
  static pb_label labels[MOST];
  int removed = 0;
  const int count = library.classify(model, text, strlen(text), pair, pair ? strlen(pair) : 0, labels, MOST, &removed, error,
                                     sizeof error);
  printf("%d", removed);
  for (int i = 0; i < count; i++) printf(" %d %.9g", labels[i].index, (double)labels[i].score);
  return count < 0;
}

static int find_entities(pb_text_model *model, const char *text) {
  static pb_entity found[MOST];
  int removed = 0;
  const int count = library.find_entities(model, text, strlen(text), found, MOST, &removed, error, sizeof error);
  printf("%d", removed);
  for (int i = 0; i < count; i++)
    printf(" %d %.9g %d %d", found[i].label, (double)found[i].score, found[i].start, found[i].end);
  return count < 0;
}

static int embed(pb_text_model *model, const char *text, const char *pair) {
  static float vector[MOST];
  const int size = library.answer_size(model);
  int removed = 0;
  const int failed = library.embed(model, text, strlen(text), pair, pair ? strlen(pair) : 0, vector, size, &removed, error,
                                   sizeof error);
  printf("%d", removed);
  for (int i = 0; !failed && i < size; i++) printf(" %.9g", (double)vector[i]);
  return failed;
}

static int answer(pb_text_model *model, char *line) {
  line[strcspn(line, "\n")] = 0;
  char *tab = strchr(line, '\t');
  if (tab) *tab = 0;
  const char *pair = tab ? tab + 1 : NULL;
  const int kind = library.answer_kind(model);
  const int failed = kind == PB_CLASSIFIES        ? classify(model, line, pair)
                     : kind == PB_FINDS_ENTITIES ? find_entities(model, line)
                                                 : embed(model, line, pair);
  printf("\n");
  return failed ? complain(error) : 0;
}

int main(int count, char **words) {
  static char line[MOST];
  if (count != 5) return complain("four words");
  void *handle = load(words[1], RTLD_NOW);
  if (!handle) return complain(tell());
  if (look_up(handle)) return 1;
  const pb_source weights = {.kind = PB_FROM_PATH, .path = words[2]}, table = {.kind = PB_FROM_PATH, .path = words[3]};
  pb_text_model *model = library.text_open(&weights, &table, 2, NULL, error, sizeof error);
  if (!model) return complain(error);
  FILE *texts = fopen(words[4], "rb");
  int failed = !texts;
  while (!failed && fgets(line, sizeof line, texts)) failed = answer(model, line);
  if (texts) fclose(texts);
  library.text_close(model);
  return failed;
}
