/* A classifier of texts or of tokens: prints the name of the label that scores highest in each row that counts. */
#include "model.h"
#include <stdio.h>

static float logits[PB_OUTPUT_LOGITS_ROWS][PB_LABEL_COUNT];

int main(int count, char **words) {
  char error[512];
  int64_t ids[PB_TOKENS] = {2, 7, 9, 3}, mask[PB_TOKENS] = {1, 1, 1, 1}, types[PB_TOKENS] = {0};
  const int64_t *inputs[PB_INPUT_COUNT];
  float *outputs[PB_OUTPUT_COUNT];
  pb_model *model = pb_open("model", count > 1 ? words[1] : "weights.bin", 1, 0, error, sizeof error);
  if (!model) return 1;
  inputs[PB_INPUT_INPUT_IDS] = ids;
  inputs[PB_INPUT_ATTENTION_MASK] = mask;
  inputs[PB_INPUT_TOKEN_TYPE_IDS] = types;
  outputs[PB_OUTPUT_LOGITS] = logits[0];
  if (pb_run(model, inputs, outputs)) return 1;
  for (int row = 0; row < PB_OUTPUT_LOGITS_ROWS && mask[row]; row++) {
    int best = 0;
    for (int label = 1; label < PB_LABEL_COUNT; label++)
      if (logits[row][label] > logits[row][best]) best = label;
    printf("%s\n", pb_labels[best]);
  }
  pb_close(model);
  return 0;
}
