/* How an inner loop keeps its loads beside its multiply-adds on 64-bit ARM, and that of fp32 products. */
#ifndef POCKETBERT_SUMS_H
#define POCKETBERT_SUMS_H
#include "vector.h"

#define PB_MAX_ROWS 16
#define PB_MAX_VECTORS 8

#if defined(__aarch64__)
/* x is calculated before this and y is used after it, and no access to memory moves across: loads stay beside the
   multiply-adds that a core which issues in order does with them, and nowhere near what waits for them. Compilers put
   loads together, and take registers for it that sums need. */
#define PB_IN_ORDER(x, y) __asm__ volatile("" : "+w"(x), "+w"(y) : : "memory")

/* Smaller tiles leave so many registers that the compiler's own order is the faster one. */
#define PB_PIPELINED(rows, vectors) ((rows) >= 4 && (vectors) >= 2 && (rows) * (vectors) >= 12)

/* Multiply-adds between the load of a row's number and its first use: a load takes three cycles. */
PB_INLINE int pb_row_lead(const int rows, const int vectors) { return rows * vectors > 26 ? 2 : vectors + 2; }

/* The multiply-add of a step after which the next step's vector v of b is loaded: where the registers hold both steps',
   early enough to be there in time; else at once when the vector has been used. */
PB_INLINE int pb_line_slot(const int rows, const int vectors, const int v) {
  const int sums = rows * vectors, both = vectors == 2 && sums <= 24;
  return sums - (both ? 2 * (vectors - v) + 1 : vectors - v);
}

/* sums += a column of a by a row of b, one step along the inner dimension: `line` holds the row, `column` as many
   numbers as `pb_row_lead` has first uses. They are left as the next step needs them, unless this is the last one. */
PB_INLINE void pb_pipelined_step(const int rows, const int vectors, const int last, const float *a, const long a_stride,
                                 const long a_step, const float *next_line, const int fetch, const char *ahead,
                                 pb_vec *line, float *column, pb_vec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  pb_vec next[PB_MAX_VECTORS];
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const int slot = r * vectors + v, led = slot + pb_row_lead(rows, vectors), soon = led / vectors;
      sums[r][v] += line[v] * column[r];
      PB_IN_ORDER(sums[r][v], column[v + 1 < vectors ? r : (r + 1) % rows]);
      if (led % vectors == 0 && soon < rows) column[soon] = a[soon * a_stride];
      if (led % vectors == 0 && soon >= rows && !last) column[soon - rows] = a[(soon - rows) * a_stride + a_step];
      PB_UNROLL for (int w = 0; w < vectors; w++)
        if (!last && slot == pb_line_slot(rows, vectors, w)) next[w] = pb_load(next_line + w * PB_LANES);
      if (fetch && slot == vectors - 1) __builtin_prefetch(ahead, 0, 2);
    }
  PB_UNROLL for (int v = 0; v < vectors; v++)
    if (!last) line[v] = next[v];
}

/* sums[rows x vectors] += a[rows x depth] * b[depth x vectors*PB_LANES], as `pb_tile_to` has them, with each step's
   operands loaded during the step before; depth is at least 1. */
PB_INLINE void pb_pipelined_sums(const int rows, const int vectors, const float *a, const long a_stride,
                                 const long a_step, const float *b, const long b_stride, const long depth,
                                 const int fetch, const char *ahead, pb_vec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  pb_vec line[PB_MAX_VECTORS];
  float column[PB_MAX_ROWS];
  long k = 0;
  PB_UNROLL for (int v = 0; v < vectors; v++) line[v] = pb_load(b + v * PB_LANES);
  PB_UNROLL for (int r = 0; r * vectors < pb_row_lead(rows, vectors); r++) column[r] = a[r * a_stride];
  _Pragma("clang loop unroll_count(2)") for (; k < depth - 1; k++)
    pb_pipelined_step(rows, vectors, 0, a + k * a_step, a_stride, a_step, b + (k + 1) * b_stride, fetch, ahead + 64 * k,
                      line, column, sums);
  pb_pipelined_step(rows, vectors, 1, a + k * a_step, a_stride, 0, 0, fetch, ahead + 64 * k, line, column, sums);
}
#else
#define PB_PIPELINED(rows, vectors) 0
#define pb_pipelined_sums(...) ((void)0)
#endif

#endif
