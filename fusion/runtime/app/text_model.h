/* A model with its tokenizer, and one text's way through both. */
#ifndef POCKETBERT_TEXT_MODEL_H
#define POCKETBERT_TEXT_MODEL_H
#include "answers.h"
#include "pocketbert_text.h"
#include "source.h"

struct pb_text_model {
  pb_model *model;
  pb_tokenizer *tokenizer;
  pb_bytes table;
  const pb_port *output;
};

/* One call: what it takes, and where it tells what is wrong. */
typedef struct {
  const pb_text_model *model;
  const char *text, *pair;
  size_t text_bytes, pair_bytes;
  int *removed;
  char *error;
  size_t size;
} pb_question;

/* What the program made of a question: `numbers` of the output that is read [rows x columns], and where the token at each of
   the `positions` lies, padding included. */
typedef struct {
  float *numbers;
  pb_span *spans;
  int positions;
  void *memory;
} pb_reply;

/* Runs a question. Returns 0 with a reply that pb_reply_free ends; or -1 with one line in the question's `error`, also
   where the model answers otherwise than by `kind`. */
int pb_ask(const pb_question *question, int kind, pb_reply *reply);

void pb_reply_free(pb_reply *reply);

#endif
