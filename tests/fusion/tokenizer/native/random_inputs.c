/* Runs a libFuzzer target without libFuzzer: on each file that is named, and on changes of it, so many in all. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 16 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static uint64_t state = 88172645463325252u;

static uint32_t chance(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16) % below;
}

/* Changes some bytes in place, and may leave out the last ones. Returns how many are left. */
static size_t changed(unsigned char *bytes, size_t count) {
  for (uint32_t i = chance(6); i > 0 && count; i--) {
    if (chance(4)) bytes[chance((uint32_t)count)] = (unsigned char)chance(256);
    else count -= chance((uint32_t)count) / 8;
  }
  return count;
}

int main(int argc, char **argv) {
  unsigned char *input = (unsigned char *)malloc(MOST_BYTES);
  if (argc < 3 || !input) return 2;
  LLVMFuzzerInitialize(&argc, &argv);
  int count = atoi(argv[1]);
  for (int i = 0; i < count; i++) {
    FILE *file = fopen(argv[2 + i % (argc - 2)], "rb");
    if (!file) return 2;
    size_t size = fread(input, 1, MOST_BYTES, file);
    fclose(file);
    /* Each file as it is, then changed; exactly as many bytes as there are, so that reading beyond them is found. */
    size_t left = i < argc - 2 ? size : changed(input, size);
    unsigned char *exact = (unsigned char *)malloc(left + 1);
    if (!exact) return 2;
    memcpy(exact, input, left);
    LLVMFuzzerTestOneInput(exact, left);
    free(exact);
  }
  printf("%d inputs\n", count);
  free(input);
  return 0;
}
