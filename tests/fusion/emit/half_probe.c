/* Runs the cases of a file through the kernels of fp16: `probe CASES RESULTS`. The tiles come before this text, as
   PB_TILES(X) with X(rows, vectors) for each, and the rows as PB_ROWS(X) with X(columns, padded bytes).

   Numbers are 32-bit, but for half ones. A product: 0, rows, vectors, depth, bytes of a row, rows, weights, scales of
   columns; it gives the tile's results. A row: 1, columns, padded bytes, the row to whole cache lines; it gives the
   half row. */
#include "fp16.h"
#include <stdio.h>
#include <stdlib.h>

#define PRODUCT(R, V)                                                                                                \
  static void product_##R##_##V(const char *a, long stride, const char *b, const float *scales, long depth, float *c) { \
    pb_half_tile(R, V, a, stride, b, scales, c, V * PB_LANES, depth, 1, b, (pb_end){0});                               \
  }
PB_TILES(PRODUCT)

static void *exactly(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

static void *next(FILE *in, size_t bytes) {
  void *found = exactly(bytes);
  if (fread(found, 1, bytes, in) != bytes) exit(3);
  return found;
}

static void product(FILE *in, FILE *out) {
  int *head = next(in, 4 * sizeof(int)), rows = head[0], vectors = head[1], depth = head[2], stride = head[3];
  int columns = vectors * PB_LANES;
  char *a = next(in, (size_t)rows * stride), *b = next(in, (size_t)2 * depth * columns);
  float *scales = next(in, 4 * columns), *c = exactly(4 * rows * columns);
#define CALL(R, V) if (rows == R && vectors == V) product_##R##_##V(a, stride, b, scales, depth, c);
  PB_TILES(CALL)
  fwrite(c, 4, rows * columns, out);
  free(head), free(a), free(b), free(scales), free(c);
}

#define HALVE(COLUMNS, PADDED) if (columns == COLUMNS) pb_halve_row(row, COLUMNS, halves);
static void row(FILE *in, FILE *out) {
  int *head = next(in, 2 * sizeof(int)), columns = head[0], padded = head[1];
  float *row = next(in, (size_t)(columns + 15) / 16 * 64);
  char *halves = exactly(padded);
  PB_ROWS(HALVE)
  fwrite(halves, 1, padded, out);
  free(head), free(row), free(halves);
}

int main(int count, char **arguments) {
  FILE *in = fopen(arguments[1], "rb"), *out = fopen(arguments[2], "wb");
  if (count != 3 || !in || !out) return 2;
  for (int kind; fread(&kind, sizeof kind, 1, in);) (kind ? row : product)(in, out);
  return fclose(out) || fclose(in);
}
