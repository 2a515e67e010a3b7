/* Products of int8 rows and int8 weights with int32 sums, and rows made into int8. Included by int8 units and by blocks
   that make rows for them.

   Weights are -128 to 127. Numbers of rows are -127 to 127, stored as bytes with PB_INT8_OFFSET added; what that adds
   to a sum is taken off by the column's `correction`, PB_INT8_OFFSET times the column's weights, with the sign turned.
   An inner size of 65,536 is the largest whose sums cannot overflow.

   What each instruction set brings: PB_INT8_GROUP, bytes of the inner dimension that lie together for a column;
   pb_int8_sums: sums[rows x vectors] of a[rows x groups*PB_INT8_GROUP], a_stride bytes from row to row, which may be
   read to the next multiple of 16, and b, which holds for each group, for each of vectors*PB_LANES columns,
   PB_INT8_GROUP weights; pb_nearest: numbers rounded to the nearest whole ones, ties to even; pb_bytes: four vectors of
   whole numbers from -128 to 127 as one of bytes. */
#ifndef POCKETBERT_INT8_H
#define POCKETBERT_INT8_H
#include "block.h"

typedef int pb_ivec_unaligned __attribute__((vector_size(PB_VECTOR_BYTES), aligned(1), may_alias));
PB_INLINE pb_ivec pb_load_bytes(const void *p) { return *(const pb_ivec_unaligned *)p; }

#if defined(__x86_64__)
#include "int8_x86.h"
#else
#include "int8_arm.h"
#endif

/* c[rows x vectors*PB_LANES] = (sum + correction) * (row scale * column scale) of the sums of `pb_int8_sums`, in fp32;
   scales and corrections are those of the tile's rows and columns. rows, vectors and fetch are constants after
   inlining. With `fetch`, a cache line from `ahead` on is fetched in each group. */
PB_INLINE void pb_int8_tile(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const float *restrict row_scales, const void *restrict b,
                            const float *restrict column_scales, const int *restrict corrections, float *restrict c,
                            const long c_stride, const long groups, const int fetch, const char *ahead,
                            const pb_end end) {
  pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS];
  pb_int8_sums(rows, vectors, a, a_stride, b, groups, fetch, ahead, sums);
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const pb_ivec sum = PB_INT8_OFFSET ? sums[r][v] + pb_load_bytes(corrections + v * PB_LANES) : sums[r][v];
      pb_vec x = __builtin_convertvector(sum, pb_vec) * (pb_load(column_scales + v * PB_LANES) * row_scales[r]);
      if (end.function) x = end.function(end.operands, x, end.row + r, end.column + v * PB_LANES);
      pb_store(c + r * c_stride + v * PB_LANES, x);
    }
}

/* Rows whose largest number is below this count as zero: 127 over it is still a number. */
#define PB_INT8_LEAST 1e-36f

#define PB_INT8_BLOCK (4 * PB_LANES) /* numbers whose bytes fill a vector */

/* Vectors block*4 .. block*4 + 3 of a row, with zeros from `columns` on; no vector beyond them is read. columns and
   block are constants after inlining. */
PB_INLINE void pb_row_end(const float *row, const int columns, const int block, pb_vec *x) {
  PB_UNROLL for (int i = 0; i < 4; i++) {
    const int first = block * PB_INT8_BLOCK + i * PB_LANES;
    x[i] = first < columns ? pb_first(pb_load(row + first), columns - first) : pb_splat(0.0f);
  }
}

PB_INLINE pb_ivec pb_imax(const pb_ivec a, const pb_ivec b) {
  return (pb_ivec)pb_select(a > b, (pb_vec)a, (pb_vec)b);
}

/* The largest magnitude of a row. The bits of magnitudes, as whole numbers, have the order of the magnitudes, and those
   of NaN lie above them all. */
PB_INLINE float pb_largest_magnitude(const float *row, const int columns) {
  const pb_ivec magnitude = (pb_ivec){0} + 0x7fffffff;
  const int blocks = columns / PB_INT8_BLOCK;
  pb_ivec most[4] = {0};
  for (int block = 0; block < blocks; block++)
    PB_UNROLL for (int i = 0; i < 4; i++)
      most[i] = pb_imax(most[i], (pb_ivec)pb_load(row + block * PB_INT8_BLOCK + i * PB_LANES) & magnitude);
  if (columns % PB_INT8_BLOCK) {
    pb_vec x[4];
    pb_row_end(row, columns, blocks, x);
    PB_UNROLL for (int i = 0; i < 4; i++) most[i] = pb_imax(most[i], (pb_ivec)x[i] & magnitude);
  }
  most[0] = pb_imax(pb_imax(most[0], most[1]), pb_imax(most[2], most[3]));
  int largest = 0;
  PB_UNROLL for (int n = 0; n < PB_LANES; n++) largest = most[0][n] > largest ? most[0][n] : largest;
  float max;
  __builtin_memcpy(&max, &largest, sizeof max);
  return max;
}

/* Four vectors times factor, rounded, as bytes. */
PB_INLINE void pb_quantise_block(const pb_vec *x, const float factor, char *out) {
  const pb_ivec offset = (pb_ivec){0} + (int)(PB_INT8_OFFSET * 0x01010101u);
  pb_ivec whole[4];
  PB_UNROLL for (int i = 0; i < 4; i++) whole[i] = pb_nearest(x[i] * factor);
  *(pb_ivec_unaligned *)out = pb_bytes(whole) ^ offset;
}

/* One complete fp32 row as `padded` bytes, whole cache lines: each x times 127 / max|x|, rounded; and its scale,
   max|x| / 127. Bytes from `columns` on stand for zero. A row with a NaN gets the scale NaN, one with an infinity an
   infinite one, so that neither is lost. The row may be read to the end of its last vector; columns and padded are
   constants after inlining. */
PB_INLINE void pb_quantise_row(const float *restrict row, const int columns, const int padded, void *restrict out,
                               float *restrict scale) {
  const float largest = pb_largest_magnitude(row, columns);
  const int none = largest < PB_INT8_LEAST;
  const float factor = none ? 0.0f : 127.0f / largest;
  *scale = none ? 0.0f : largest / 127.0f;
  int block = 0;
  for (; block < columns / PB_INT8_BLOCK; block++) {
    pb_vec x[4];
    PB_UNROLL for (int i = 0; i < 4; i++) x[i] = pb_load(row + block * PB_INT8_BLOCK + i * PB_LANES);
    pb_quantise_block(x, factor, (char *)out + block * PB_INT8_BLOCK);
  }
  if (columns % PB_INT8_BLOCK) {
    pb_vec x[4];
    pb_row_end(row, columns, columns / PB_INT8_BLOCK, x);
    pb_quantise_block(x, factor, (char *)out + block++ * PB_INT8_BLOCK);
  }
  __builtin_memset((char *)out + block * PB_INT8_BLOCK, PB_INT8_OFFSET, padded - block * PB_INT8_BLOCK);
}

#endif
