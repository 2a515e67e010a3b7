/* Products of int8 rows and int8 weights with int32 sums, and rows made into int8. Included by int8 units and by blocks
   that make rows for them.

   Weights are -128 to 127. Numbers of rows are -127 to 127, stored as bytes with PB_INT8_OFFSET added; what that adds
   to a sum is taken off by the column's `correction`, PB_INT8_OFFSET times the column's weights, with the sign turned.
   An inner size of 65,536 is the largest whose sums cannot overflow. */
#ifndef POCKETBERT_INT8_H
#define POCKETBERT_INT8_H
#include "block.h"

#define PB_INT8_GROUP 4 /* bytes of the inner dimension that lie together for a column */
#if defined(__x86_64__)
#define PB_INT8_OFFSET 128
typedef unsigned char pb_int8_stored;
#else
#define PB_INT8_OFFSET 0
typedef signed char pb_int8_stored;
#endif

typedef int pb_ivec_unaligned __attribute__((vector_size(PB_VECTOR_BYTES), aligned(1), may_alias));

/* sums[rows x vectors] of a[rows x groups*PB_INT8_GROUP], a_stride bytes from row to row, and b, which holds for each
   group, for each of vectors*PB_LANES columns, PB_INT8_GROUP weights. */
PB_INLINE void pb_int8_sums(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const long groups, const int fetch, const char *ahead,
                            pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const pb_int8_stored *x = a;
  const signed char *w = b;
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (pb_ivec){0};
  for (long g = 0; g < groups; g++) {
    if (fetch) __builtin_prefetch(ahead + 64 * g, 0, 2);
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const pb_ivec word = *(const pb_ivec_unaligned *)(w + (g * vectors + v) * PB_VECTOR_BYTES);
      PB_UNROLL for (int i = 0; i < PB_INT8_GROUP; i++) {
        const pb_ivec part = (word << (24 - 8 * i)) >> 24;
        PB_UNROLL for (int r = 0; r < rows; r++) sums[r][v] += part * x[r * a_stride + g * PB_INT8_GROUP + i];
      }
    }
  }
}

/* A byte for each of the numbers that `x` holds, which are whole and lie within -127 and 127. */
PB_INLINE void pb_store_int8(pb_int8_stored *out, const pb_ivec x) {
  PB_UNROLL for (int n = 0; n < PB_LANES; n++) out[n] = (pb_int8_stored)(x[n] + PB_INT8_OFFSET);
}

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
      const pb_ivec sum = PB_INT8_OFFSET ? sums[r][v] + *(const pb_ivec_unaligned *)(corrections + v * PB_LANES)
                                         : sums[r][v];
      pb_vec x = __builtin_convertvector(sum, pb_vec) * (pb_load(column_scales + v * PB_LANES) * row_scales[r]);
      if (end.function) x = end.function(end.operands, x, end.row + r, end.column + v * PB_LANES);
      pb_store(c + r * c_stride + v * PB_LANES, x);
    }
}

/* Rows whose largest number is below this count as zero: 127 over it is still a number. */
#define PB_INT8_LEAST 1e-36f

/* One complete fp32 row as `padded` bytes, each x times 127 / max|x| rounded to the nearest whole number (ties to even),
   and its scale, max|x| / 127. Bytes from `columns` on stand for zero. A row with a NaN gets the scale NaN, one with an
   infinity an infinite one, so that neither is lost. The row may be read to the end of its last vector. */
PB_INLINE void pb_quantise_row(const float *restrict row, const int columns, const int padded, void *restrict out,
                               float *restrict scale) {
  _Pragma("clang fp contract(off)") /* so that every processor rounds alike */
  const int vectors = PB_VECTORS(columns), tail = columns - (vectors - 1) * PB_LANES;
  const pb_ivec magnitude = (pb_ivec){0} + 0x7fffffff;
  /* The bits of magnitudes, as whole numbers, have the order of the magnitudes, and those of NaN are above them all. */
  pb_ivec most = (pb_ivec){0};
  for (int v = 0; v < vectors; v++) {
    const pb_vec x = pb_load(row + v * PB_LANES);
    const pb_ivec bits = (pb_ivec)(v < vectors - 1 ? x : pb_first(x, tail)) & magnitude;
    most = (pb_ivec)pb_select(bits > most, (pb_vec)bits, (pb_vec)most);
  }
  int largest = 0;
  for (int n = 0; n < PB_LANES; n++) largest = most[n] > largest ? most[n] : largest;
  float max;
  __builtin_memcpy(&max, &largest, sizeof max);
  const int none = max < PB_INT8_LEAST;
  const float factor = none ? 0.0f : 127.0f / max;
  *scale = none ? 0.0f : max / 127.0f;
  pb_int8_stored *bytes = out;
  const pb_vec shift = pb_splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
  for (int v = 0; v < vectors; v++) {
    const pb_vec x = pb_load(row + v * PB_LANES), y = v < vectors - 1 ? x : pb_first(x, tail);
    pb_ivec whole = (pb_ivec)(y * factor + shift) - (pb_ivec)shift;
    if ((v + 1) * PB_LANES <= padded)
      pb_store_int8(bytes + v * PB_LANES, whole);
    else
      for (int n = 0; n < PB_LANES && v * PB_LANES + n < padded; n++)
        bytes[v * PB_LANES + n] = (pb_int8_stored)(whole[n] + PB_INT8_OFFSET);
  }
  for (int n = vectors * PB_LANES; n < padded; n++) bytes[n] = PB_INT8_OFFSET;
}

#endif
