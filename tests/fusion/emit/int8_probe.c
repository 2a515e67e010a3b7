/* Runs the cases of a file through the int8 kernels: `probe CASES RESULTS`. The tiles come before this text, as
   PB_TILES(X) with X(rows, vectors) for each.

   Numbers are 32-bit. A product: 0, rows, vectors, groups, bytes of a row, rows' bytes, weights, corrections, scales of
   rows, scales of columns; it gives the corrected sums, then the tile's results. A row: 1, columns, padded bytes, the
   row to whole cache lines; it gives the scale, then the bytes. */
#include "int8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRODUCT(R, V)                                                                                                \
  static void product_##R##_##V(const char *a, long stride, const char *b, const int *corrections,                    \
                                const float *row_scales, const float *scales, long groups, int *sums, float *c) {     \
    pb_ivec found[PB_MAX_ROWS][PB_MAX_VECTORS];                                                                       \
    pb_int8_sums(R, V, a, stride, b, groups, 0, 0, found);                                                            \
    for (int r = 0; r < R; r++)                                                                                       \
      for (int n = 0; n < V * PB_LANES; n++)                                                                          \
        sums[r * V * PB_LANES + n] = found[r][n / PB_LANES][n % PB_LANES] + corrections[n];                           \
    pb_int8_tile(R, V, a, stride, row_scales, b, scales, corrections, c, V * PB_LANES, groups, 1, b, (pb_end){0});    \
  }
PB_TILES(PRODUCT)

static void *exactly(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

static void *next(FILE *in, size_t bytes) {
  void *found = exactly(bytes);
  if (fread(found, 1, bytes, in) != bytes) exit(3);
  return found;
}

static void product(FILE *in, FILE *out) {
  int *head = next(in, 4 * sizeof(int)), rows = head[0], vectors = head[1], groups = head[2], stride = head[3];
  int columns = vectors * PB_LANES;
  char *a = next(in, (size_t)rows * stride), *b = next(in, (size_t)groups * PB_INT8_GROUP * columns);
  int *corrections = next(in, 4 * columns), *sums = exactly(4 * rows * columns);
  float *row_scales = next(in, 4 * rows), *scales = next(in, 4 * columns), *c = exactly(4 * rows * columns);
#define CALL(R, V)                                                                                                   \
  if (rows == R && vectors == V) product_##R##_##V(a, stride, b, corrections, row_scales, scales, groups, sums, c);
  PB_TILES(CALL)
  fwrite(sums, 4, rows * columns, out);
  fwrite(c, 4, rows * columns, out);
  void *all[] = {head, a, b, corrections, sums, row_scales, scales, c};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Multiples of a row, made int8 together, are what each is by itself; else the program ends. */
#define MOST_COLUMNS 768
#define TOGETHER(ROWS)                                                                                               \
  static void together_##ROWS(const float *row, const int columns, const int padded) {                               \
    float rows[ROWS * MOST_COLUMNS], scales[ROWS], scale;                                                            \
    char bytes[ROWS * MOST_COLUMNS], own[MOST_COLUMNS];                                                              \
    pb_ivec most[ROWS] = {{0}};                                                                                      \
    for (int r = 0; r < ROWS; r++)                                                                                   \
      for (int n = 0; n < columns; n++) rows[r * columns + n] = row[n] * (1.5f - r);                                 \
    for (int r = 0; r < ROWS; r++)                                                                                   \
      for (int n = 0; n < columns; n += PB_LANES) most[r] = pb_most(most[r], pb_load(rows + r * columns + n));        \
    pb_round_rows(ROWS, ROWS, most, rows, columns, columns, padded, bytes, padded, scales);                          \
    for (int r = 0; r < ROWS; r++) {                                                                                 \
      pb_quantise_row(rows + r * columns, columns, padded, own, &scale);                                             \
      if (memcmp(&scale, scales + r, sizeof scale) || memcmp(own, bytes + r * padded, padded)) exit(4);              \
    }                                                                                                                \
  }
TOGETHER(1)
TOGETHER(3)
TOGETHER(4)
#if PB_LANES >= 8
TOGETHER(8)
#else
#define together_8 together_4
#endif
#if PB_LANES >= 16
TOGETHER(13)
#else
#define together_13 together_8
#endif

#define QUANTISE(COLUMNS, PADDED)                                                                                    \
  if (columns == COLUMNS && padded == PADDED) {                                                                      \
    pb_quantise_row(row, COLUMNS, PADDED, bytes, &scale);                                                            \
    if (COLUMNS % PB_LANES == 0) {                                                                                   \
      together_1(row, COLUMNS, PADDED), together_3(row, COLUMNS, PADDED), together_4(row, COLUMNS, PADDED);          \
      together_8(row, COLUMNS, PADDED), together_13(row, COLUMNS, PADDED);                                           \
    }                                                                                                                \
  }
static void row(FILE *in, FILE *out) {
  int *head = next(in, 2 * sizeof(int)), columns = head[0], padded = head[1];
  float *row = next(in, (size_t)(columns + 15) / 16 * 64), scale = -1;
  char *bytes = exactly(padded);
  PB_ROWS(QUANTISE)
  fwrite(&scale, 4, 1, out);
  fwrite(bytes, 1, padded, out);
  free(head), free(row), free(bytes);
}

int main(int count, char **arguments) {
  FILE *in = fopen(arguments[1], "rb"), *out = fopen(arguments[2], "wb");
  if (count != 3 || !in || !out) return 2;
  for (int kind; fread(&kind, sizeof kind, 1, in);) (kind ? row : product)(in, out);
  return fclose(out) || fclose(in);
}
