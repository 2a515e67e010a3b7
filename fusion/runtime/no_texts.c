/* A runner whose model was exported without a tokenizer. */
#include "runner.h"

void pb_tell_answer(const pb_arguments *arguments) {
  (void)arguments;
  pb_fail("--text is for runners of models that were exported with their tokenizer: this one takes --input");
}
