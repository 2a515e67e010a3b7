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

/* Four numbers in the lower half of a vector, whose upper half is not used. */
PB_INLINE pb_half pb_load_low_half(const void *p) {
  const pb_half4 x = pb_load_half4(p);
  return __builtin_shufflevector(x, x, 0, 1, 2, 3, -1, -1, -1, -1);
}

/* As PB_IN_ORDER, for a number of rows: multiply-adds of half by an element read it from v0 to v15. */
#define PB_HALF_IN_ORDER(x, y) __asm__ volatile("" : "+w"(x), "+x"(y) : : "memory")

/* Tiles whose order is better than the compiler's. */
#define PB_HALF_PIPELINED(rows, vectors) ((rows) >= 5 && (vectors) == 4)

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

/* `pb_half_four` of steps whose first numbers of rows are in `row`, and whose first vectors of b in `line`; both are
   left as the steps at `next_a` and `next_b` need them. Vectors of b are loaded four multiply-adds before their use,
   between the loads of rows. */
PB_INLINE void pb_half_pipelined_four(const int rows, const int vectors, const char *next_a, const long a_stride,
                                      const char *b, const char *next_b, const int fetch, const char *ahead,
                                      pb_half *row, pb_half *line, pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS]) {
  const int width = vectors / 2;
  PB_UNROLL for (int i = 0; i < 4; i++) {
    pb_half next[PB_HALF_VECTORS];
    const char *to = i < 3 ? b + 2 * (i + 1) * vectors * PB_LANES : next_b;
    PB_UNROLL for (int r = 0; r < rows; r++)
      PB_UNROLL for (int v = 0; v < width; v++) {
        sums[r][v] += line[v] * row[r][i];
        PB_HALF_IN_ORDER(sums[r][v], row[v + 1 < width ? r : (r + 1) % rows]);
        PB_UNROLL for (int w = 0; w < width; w++)
          if (r * width + v == rows * width - 2 * (width - w) - 2) next[w] = pb_load_half(to + 16 * w);
        if (i == 3 && v + 1 == width) row[r] = pb_load_low_half(next_a + r * a_stride);
        if (fetch && r == 1 && v == 0) __builtin_prefetch(ahead + 64 * i, 0, 2);
      }
    PB_UNROLL for (int v = 0; v < width; v++) line[v] = next[v];
  }
}

/* sums[rows x vectors/2] = a[rows x depth] * b[depth x vectors*PB_LANES] in half, vectors even, with operands loaded
   beside earlier multiply-adds; the last four steps load what they have once more. Zeros of 64 bits clear all 128, and
   Cortex-A55 makes two of them in a cycle. */
PB_INLINE void pb_half_pipelined_sums(const int rows, const int vectors, const char *a, const long a_stride,
                                      const char *b, const long depth, const int fetch, const char *ahead,
                                      pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS]) {
  pb_half row[PB_MAX_ROWS], line[PB_HALF_VECTORS];
  const int four = 8 * vectors * PB_LANES;
  PB_UNROLL for (int v = 0; v < vectors / 2; v++) line[v] = pb_load_half(b + 16 * v);
  PB_IN_ORDER(line[0], line[vectors / 2 - 1]);
  PB_UNROLL for (int r = 0; r < rows; r++) {
    row[r] = pb_load_low_half(a + r * a_stride);
    PB_UNROLL for (int v = 0; v < vectors / 2; v++)
      __asm__ volatile("movi %d0, #0" : "=w"(sums[r][v]) : : "memory");
  }
  _Pragma("clang loop unroll(disable)") for (long left = depth; left > 0;) {
    pb_half_pipelined_four(rows, vectors, a + 8, a_stride, b, b + four, fetch, ahead, row, line, sums);
    left -= PB_HALF_STEP;
    const long step = left > 0 ? 16 : 8;
    const char *next_b = b + vectors * PB_LANES * step;
    a += step;
    pb_half_pipelined_four(rows, vectors, a, a_stride, b + four, next_b, fetch, ahead + 256, row, line, sums);
    b = next_b;
    ahead += 64 * PB_HALF_STEP;
  }
}

/* sums[rows x vectors/2, rounded up] = a[rows x depth] * b[depth x vectors*PB_LANES] in half; depth is a multiple of
   PB_HALF_STEP. */
PB_INLINE void pb_half_sums(const int rows, const int vectors, const char *restrict a, const long a_stride,
                            const char *restrict b, const long depth, const int fetch, const char *ahead,
                            pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS]) {
  if (PB_HALF_PIPELINED(rows, vectors)) {
    pb_half_pipelined_sums(rows, vectors, a, a_stride, b, depth, fetch, ahead, sums);
    return;
  }
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

/* c += sums; what comes next is widened and loaded before each addition, and stored after the one that follows. */
PB_INLINE void pb_half_add(const int rows, const int vectors, pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS], float *c,
                           const long c_stride) {
  pb_vec before[PB_MAX_ROWS * PB_MAX_VECTORS], x[PB_MAX_ROWS * PB_MAX_VECTORS];
  PB_UNROLL for (int n = -2; n < rows * vectors; n++) {
    const int next = n + 2, last = n - 1;
    if (next < rows * vectors) {
      x[next] = pb_widened(sums[next / vectors], next % vectors);
      __asm__ volatile("" : "+w"(x[next]) : : "memory");
      before[next] = pb_load(c + next / vectors * c_stride + next % vectors * PB_LANES);
    }
    if (n >= 0) {
      x[n] += before[n];
      __asm__ volatile("" : "+w"(x[n]) : : "memory");
    }
    if (last >= 0) pb_store(c + last / vectors * c_stride + last % vectors * PB_LANES, x[last]);
  }
  pb_store(c + (rows - 1) * c_stride + (vectors - 1) * PB_LANES, x[rows * vectors - 1]);
}

/* Sums in half to fp32: c = sums, with `add` c += sums; with `scales` they are whole, are multiplied by them, and go on
   to `end`. */
PB_INLINE void pb_half_to(const int rows, const int vectors, pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS], const int add,
                          const float *scales, float *restrict c, const long c_stride, const pb_end end) {
  if (add && !scales && PB_HALF_PIPELINED(rows, vectors)) {
    pb_half_add(rows, vectors, sums, c, c_stride);
    return;
  }
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
