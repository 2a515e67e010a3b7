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

PB_INLINE pb_ivec pb_imax(const pb_ivec a, const pb_ivec b) {
  return (pb_ivec)pb_select(a > b, (pb_vec)a, (pb_vec)b);
}

/* The larger of each lane of `most` and the magnitude of x. The bits of magnitudes, as whole numbers, have the order of
   the magnitudes, and those of NaN lie above them all. */
PB_INLINE pb_ivec pb_most(const pb_ivec most, const pb_vec x) { return pb_imax(most, (pb_ivec)x & 0x7fffffff); }

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
  PB_UNROLL for (int r = 0; r < rows; r++) {
    pb_ivec most = end.most ? end.most[r] : (pb_ivec){0};
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const pb_ivec sum = PB_INT8_OFFSET ? sums[r][v] + pb_load_bytes(corrections + v * PB_LANES) : sums[r][v];
      pb_vec x = __builtin_convertvector(sum, pb_vec) * (pb_load(column_scales + v * PB_LANES) * row_scales[r]);
      if (end.function) x = end.function(end.operands, x, end.row + r, end.column + v * PB_LANES);
      if (end.most) most = pb_most(most, x);
      pb_store(c + r * c_stride + v * PB_LANES, x);
    }
    if (end.most) end.most[r] = most;
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

/* The largest of the lanes of magnitudes. */
PB_INLINE float pb_largest_lane(const pb_ivec most) {
  int largest = 0;
  PB_UNROLL for (int n = 0; n < PB_LANES; n++) largest = most[n] > largest ? most[n] : largest;
  float max;
  __builtin_memcpy(&max, &largest, sizeof max);
  return max;
}

/* The largest magnitude of a row. */
PB_INLINE float pb_largest_magnitude(const float *row, const int columns) {
  const int blocks = columns / PB_INT8_BLOCK;
  pb_ivec most[4] = {0};
  for (int block = 0; block < blocks; block++)
    PB_UNROLL for (int i = 0; i < 4; i++)
      most[i] = pb_most(most[i], pb_load(row + block * PB_INT8_BLOCK + i * PB_LANES));
  if (columns % PB_INT8_BLOCK) {
    pb_vec x[4];
    pb_row_end(row, columns, blocks, x);
    PB_UNROLL for (int i = 0; i < 4; i++) most[i] = pb_most(most[i], x[i]);
  }
  return pb_largest_lane(pb_imax(pb_imax(most[0], most[1]), pb_imax(most[2], most[3])));
}

/* Four vectors times factor, rounded, as bytes. */
PB_INLINE void pb_quantise_block(const pb_vec *x, const float factor, char *out) {
  const pb_ivec offset = (pb_ivec){0} + (int)(PB_INT8_OFFSET * 0x01010101u);
  pb_ivec whole[4];
  PB_UNROLL for (int i = 0; i < 4; i++) whole[i] = pb_nearest(x[i] * factor);
  *(pb_ivec_unaligned *)out = pb_bytes(whole) ^ offset;
}

/* A row times factor, rounded, as `padded` bytes, whole cache lines; those from `columns` on stand for zero. The row may
   be read to the end of its last vector; columns and padded are constants after inlining. */
PB_INLINE void pb_round_row(const float factor, const float *restrict row, const int columns, const int padded,
                            void *restrict out) {
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

/* One complete fp32 row as `pb_round_row` makes it, each x times 127 / max|x|; and its scale, max|x| / 127. A row with a
   NaN gets the scale NaN, one with an infinity an infinite one, so that neither is lost. */
PB_INLINE void pb_quantise_row(const float *restrict row, const int columns, const int padded, void *restrict out,
                               float *restrict scale) {
  const float largest = pb_largest_magnitude(row, columns);
  const int none = largest < PB_INT8_LEAST;
  *scale = none ? 0.0f : largest / 127.0f;
  pb_round_row(none ? 0.0f : 127.0f / largest, row, columns, padded, out);
}

/* The largest magnitudes of rows, row r's in lane r, of each row's lane by lane; PB_LANES rows at most. Two rows are
   dealt into one vector like two halves of a pack of cards until one is left: so their numbers come in the order of
   their reversed bits. rows is a constant after inlining. */
PB_INLINE pb_vec pb_largest_magnitudes(const pb_ivec *most, const int rows) {
  pb_ivec left[PB_LANES] = {{0}};
  int count = 1, bits = 0;
  while (count < rows) count *= 2, bits++;
  PB_UNROLL for (int r = 0; r < rows; r++) {
    int place = 0;
    PB_UNROLL for (int bit = 0; bit < bits; bit++) place |= (r >> bit & 1) << (bits - 1 - bit);
    left[place] = most[r];
  }
  PB_UNROLL for (int half = count / 2; half > 0; half /= 2)
    PB_UNROLL for (int i = 0; i < half; i++) {
      const pb_ivec a = left[2 * i], b = left[2 * i + 1];
      left[i] = pb_imax(PB_ZIP_LOW(a, b), PB_ZIP_HIGH(a, b));
    }
  pb_ivec largest = left[0]; /* lane i, i + count, ... are of one row */
  PB_UNROLL for (int distance = PB_LANES / 2; distance >= count; distance /= 2) {
    pb_ivec other = largest;
    PB_UNROLL for (int i = 0; i < PB_LANES; i++) other[i] = largest[(i + distance) % PB_LANES];
    largest = pb_imax(largest, other);
  }
  return (pb_vec)largest;
}

/* As `pb_quantise_row`, of `rows` rows whose largest magnitudes are known, lane by lane; most_rows of them at most, which
   is a constant after inlining. Strides are numbers from row to row, and bytes. */
PB_INLINE void pb_round_rows(const int most_rows, const int rows, const pb_ivec *most, const float *restrict row,
                             const long stride, const int columns, const int padded, char *restrict out,
                             const long out_stride, float *restrict scales) {
  const pb_vec largest = pb_largest_magnitudes(most, most_rows);
  const pb_ivec none = (pb_ivec)(largest < pb_splat(PB_INT8_LEAST));
  float factor[PB_LANES], scale[PB_LANES];
  pb_store(factor, pb_select(none, pb_splat(0.0f), 127.0f / largest));
  pb_store(scale, pb_select(none, pb_splat(0.0f), largest / 127.0f));
  for (int r = 0; r < rows; r++) scales[r] = scale[r];
  for (int r = 0; r < rows; r++) pb_round_row(factor[r], row + r * stride, columns, padded, out + r * out_stride);
}

#endif
