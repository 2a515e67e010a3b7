/* Writes the names of all labels, each with the NUL behind it. */
#include "model.h"
#include <stdio.h>
#include <string.h>

int main(void) {
  for (int label = 0; label < PB_LABEL_COUNT; label++) fwrite(pb_labels[label], 1, strlen(pb_labels[label]) + 1, stdout);
  return 0;
}
