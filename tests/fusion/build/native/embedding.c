/* A sentence's embedding: prints its size and rows, then its numbers. */
#include "model.h"
#include <stdio.h>

int main(int count, char **words) {
  char error[512];
  int64_t ids[PB_TOKENS] = {2, 7, 9, 3}, mask[PB_TOKENS] = {1, 1, 1, 1}, types[PB_TOKENS] = {0};
  const int64_t *inputs[PB_INPUT_COUNT];
  float vector[PB_OUTPUT_SENTENCE_EMBEDDING_COLUMNS];
  float *outputs[PB_OUTPUT_COUNT];
  pb_model *model = pb_open("model", count > 1 ? words[1] : "weights.bin", 1, 0, error, sizeof error);
  if (!model) return 1;
  inputs[PB_INPUT_INPUT_IDS] = ids;
  inputs[PB_INPUT_ATTENTION_MASK] = mask;
  inputs[PB_INPUT_TOKEN_TYPE_IDS] = types;
  outputs[PB_OUTPUT_SENTENCE_EMBEDDING] = vector;
  if (pb_run(model, inputs, outputs)) return 1;
  printf("%d %d\n", PB_OUTPUT_SENTENCE_EMBEDDING_COLUMNS, PB_OUTPUT_SENTENCE_EMBEDDING_ROWS);
  for (int i = 0; i < PB_OUTPUT_SENTENCE_EMBEDDING_COLUMNS; i++) printf("%.9g ", vector[i]);
  printf("\n");
  pb_close(model);
  return 0;
}
