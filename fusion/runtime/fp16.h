/* Products of half rows and half weights on processors that calculate in half, and rows made into half. Included by
   fp16 units and by blocks that make rows for them.

   Weights come scaled, by a power of two a column, such that the magnitudes of each PB_HALF_DEPTH of a column along the
   inner dimension sum up to less than one; rows lie within the range of half: no sum of theirs can overflow. */
#ifndef POCKETBERT_FP16_H
#define POCKETBERT_FP16_H
#include "block.h"

#define PB_HALF_DEPTH 128 /* so much of the inner dimension is summed up in half */
#define PB_HALF_STEP 8    /* of the inner dimension in a round of the inner loop */
#define PB_HALF_LANES 8
#define PB_HALF_LARGEST 65504.0f
#define PB_HALF_VECTORS (PB_MAX_VECTORS / 2)

typedef _Float16 pb_half __attribute__((vector_size(2 * PB_HALF_LANES)));
typedef _Float16 pb_half4 __attribute__((vector_size(8)));
typedef _Float16 pb_half_unaligned __attribute__((vector_size(2 * PB_HALF_LANES), aligned(2), may_alias));
typedef _Float16 pb_half4_unaligned __attribute__((vector_size(8), aligned(2), may_alias));

PB_INLINE pb_half4 pb_load_half4(const void *p) { return *(const pb_half4_unaligned *)p; }
PB_INLINE pb_half pb_load_half(const void *p) { return *(const pb_half_unaligned *)p; }

/* sums[rows x vectors/2, rounded up] += four steps along the inner dimension from k on. The numbers of rows are loaded
   four at a time: Cortex-A55 multiplies while it loads 64 bits, and waits while it loads 128. */
PB_INLINE void pb_half_four(const int rows, const int vectors, const char *restrict a, const long a_stride,
                            const char *restrict b, const int fetch, const char *ahead,
                            pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS]) {
  const int whole = vectors / 2, all = (vectors + 1) / 2;
  pb_half4 row[PB_MAX_ROWS];
  PB_UNROLL for (int r = 0; r < rows; r++) row[r] = pb_load_half4(a + r * a_stride);
  PB_UNROLL for (int i = 0; i < 4; i++, b += 2 * vectors * PB_LANES) {
    pb_half line[PB_HALF_VECTORS];
    if (fetch) __builtin_prefetch(ahead + 64 * i, 0, 2);
    PB_UNROLL for (int v = 0; v < whole; v++) line[v] = pb_load_half(b + 16 * v);
    if (vectors % 2)
      line[whole] = __builtin_shufflevector(pb_load_half4(b + 16 * whole), (pb_half4){0}, 0, 1, 2, 3, 4, 5, 6, 7);
    PB_UNROLL for (int r = 0; r < rows; r++)
      PB_UNROLL for (int v = 0; v < all; v++) sums[r][v] += line[v] * row[r][i];
  }
}

/* sums[rows x vectors/2, rounded up] = a[rows x depth] * b[depth x vectors*PB_LANES] in half; depth is a multiple of
   PB_HALF_STEP. */
PB_INLINE void pb_half_sums(const int rows, const int vectors, const char *restrict a, const long a_stride,
                            const char *restrict b, const long depth, const int fetch, const char *ahead,
                            pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS]) {
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < (vectors + 1) / 2; v++) sums[r][v] = (pb_half){0};
  _Pragma("clang loop unroll(disable)") for (long k = 0; k < depth; k += PB_HALF_STEP)
    PB_UNROLL for (long i = k; i < k + PB_HALF_STEP; i += 4)
      pb_half_four(rows, vectors, a + 2 * i, a_stride, b + 2 * i * vectors * PB_LANES, fetch, ahead + 64 * i, sums);
}

/* Vector v of PB_LANES columns of a row's sums, in fp32. */
PB_INLINE pb_vec pb_widened(const pb_half *sums, const int v) {
  const pb_half x = sums[v / 2];
  return v % 2 ? __builtin_convertvector(__builtin_shufflevector(x, x, 4, 5, 6, 7), pb_vec)
               : __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3), pb_vec);
}

/* Sums in half to fp32: c = sums, with `add` c += sums; with `scales` they are whole, are multiplied by them, and go on
   to `end`. */
PB_INLINE void pb_half_to(const int rows, const int vectors, pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS], const int add,
                          const float *scales, float *restrict c, const long c_stride, const pb_end end) {
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      float *to = c + r * c_stride + v * PB_LANES;
      pb_vec x = pb_widened(sums[r], v);
      if (add) x += pb_load(to);
      if (scales) x *= pb_load(scales + v * PB_LANES);
      if (scales && end.function) x = end.function(end.operands, x, end.row + r, end.column + v * PB_LANES);
      pb_store(to, x);
    }
}

/* c[rows x vectors*PB_LANES] = column scale * the sums of `pb_half_sums` over PB_HALF_DEPTH at a time, which are added
   up in fp32, in c. depth is a multiple of PB_HALF_STEP; rows, vectors, depth and fetch are constants after inlining.
   With `fetch`, a cache line from `ahead` on is fetched in each step of depth. */
PB_INLINE void pb_half_tile(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const float *restrict column_scales, float *restrict c,
                            const long c_stride, const long depth, const int fetch, const char *ahead,
                            const pb_end end) {
  for (long k = 0; k < depth; k += PB_HALF_DEPTH) {
    pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS];
    const long count = depth - k < PB_HALF_DEPTH ? depth - k : PB_HALF_DEPTH;
    pb_half_sums(rows, vectors, (const char *)a + 2 * k, a_stride, (const char *)b + 2 * k * vectors * PB_LANES, count,
                 fetch, ahead + 64 * k, sums);
    /* Between two rounds c lies in memory: the registers are all taken. */
    __asm__ volatile("" ::: "memory");
    if (k + count == depth) pb_half_to(rows, vectors, sums, depth > PB_HALF_DEPTH, column_scales, c, c_stride, end);
    else if (k) pb_half_to(rows, vectors, sums, 1, 0, c, c_stride, end);
    else pb_half_to(rows, vectors, sums, 0, 0, c, c_stride, end);
  }
}

/* A vector within the range of half. What is not finite becomes NaN, so that it is not lost. */
PB_INLINE pb_vec pb_within_half(const pb_vec x) {
  return pb_max(pb_splat(-PB_HALF_LARGEST), pb_min(pb_splat(PB_HALF_LARGEST), x)) + (x - x);
}

/* One complete fp32 row in half, and zeros to the end of its last cache line. Numbers that half does not reach become
   its largest. The row may be read to the end of its last vector; columns is a constant after inlining. */
PB_INLINE void pb_halve_row(const float *restrict row, const int columns, void *restrict out) {
  const int vectors = PB_VECTORS(columns), padded = (columns + 31) / 32 * 32;
  pb_half4_unaligned *to = out;
  for (int v = 0; v < vectors - 1; v++)
    to[v] = __builtin_convertvector(pb_within_half(pb_load(row + v * PB_LANES)), pb_half4);
  const pb_vec last = pb_first(pb_load(row + (vectors - 1) * PB_LANES), columns - (vectors - 1) * PB_LANES);
  to[vectors - 1] = __builtin_convertvector(pb_within_half(last), pb_half4);
  __builtin_memset(to + vectors, 0, 2 * padded - 8 * vectors);
}

#endif
