/* What a generated block sees: its operands, and the row-wise and matrix kernels that it instantiates with constants. */
#ifndef POCKETBERT_BLOCK_H
#define POCKETBERT_BLOCK_H
#include "program.h"
#include "sums.h"

#define PB_VECTORS(columns) (((columns) + PB_LANES - 1) / PB_LANES)

/* What becomes of a vector of sums at row r and column n before it is stored. */
typedef pb_vec (*pb_finish)(const pb_operands *o, pb_vec x, long r, long n);

/* Where the sums of a tile go on: the operands, and the tile's first row and column. Without a function they stay.
   `most`, where somebody asks for it, holds the largest magnitudes so far of each of the tile's rows, lane by lane. */
typedef struct {
  pb_finish function;
  const pb_operands *operands;
  long row, column;
  pb_ivec *most;
} pb_end;

/* c[rows x vectors*PB_LANES] (+)= a[rows x depth] * b[depth x vectors*PB_LANES], where a(r, k) lies at r * a_stride +
   k * a_step; rows, vectors, add and fetch are constants after inlining, so that the accumulators live in registers.
   With `fetch`, a cache line from `ahead` on is fetched in each step of depth. */
PB_INLINE void pb_tile_to(const int rows, const int vectors, const int add, const float *restrict a,
                          const long a_stride, const long a_step, const float *restrict b, const long b_stride,
                          float *restrict c, const long c_stride, const long depth, const int fetch, const char *ahead,
                          const pb_end end) {
  pb_vec sums[PB_MAX_ROWS][PB_MAX_VECTORS];
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++)
      sums[r][v] = add ? pb_load(c + r * c_stride + v * PB_LANES) : pb_splat(0.0f);
  if (PB_PIPELINED(rows, vectors))
    pb_pipelined_sums(rows, vectors, a, a_stride, a_step, b, b_stride, depth, fetch, ahead, sums);
  else
    for (long k = 0; k < depth; k++) {
      pb_vec line[PB_MAX_VECTORS];
      if (fetch) __builtin_prefetch(ahead + 64 * k, 0, 2);
      PB_UNROLL for (int v = 0; v < vectors; v++) line[v] = pb_load(b + k * b_stride + v * PB_LANES);
      PB_UNROLL for (int r = 0; r < rows; r++) {
        const float x = a[r * a_stride + k * a_step];
        PB_UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += line[v] * x;
      }
    }
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      pb_vec x = sums[r][v];
      if (end.function) x = end.function(end.operands, x, end.row + r, end.column + v * PB_LANES);
      pb_store(c + r * c_stride + v * PB_LANES, x);
    }
}

PB_INLINE void pb_tile(const int rows, const int vectors, const int add, const float *restrict a, const long a_stride,
                       const long a_step, const float *restrict b, const long b_stride, float *restrict c,
                       const long c_stride, const long depth) {
  pb_tile_to(rows, vectors, add, a, a_stride, a_step, b, b_stride, c, c_stride, depth, 0, 0, (pb_end){0});
}

/* The row of a table that position r of the ids looks up, or zeros where there is no such position. */
PB_INLINE void pb_copy_neighbour(const float *table, const int *ids, const int r, const int rows, const int stride,
                                 float *out, const int columns) {
  const float *entry = r >= 0 && r < rows ? table + (long)ids[r] * stride : 0;
  for (int n = 0; n < columns; n++) out[n] = entry ? entry[n] : 0.0f;
}

/* Layer normalisation of one row in place (Ba et al., 2016); lanes beyond `columns` become zero, as scale and shift
   are padded with zeros. */
PB_INLINE void pb_layer_norm(float *row, const int columns, const float *scale, const float *shift, float epsilon) {
  const int vectors = PB_VECTORS(columns), tail = columns - (vectors - 1) * PB_LANES;
  pb_vec total = pb_splat(0.0f);
  for (int v = 0; v < vectors - 1; v++) total += pb_load(row + v * PB_LANES);
  total += pb_first(pb_load(row + (vectors - 1) * PB_LANES), tail);
  const float mean = pb_sum(total) / columns;
  pb_vec squares = pb_splat(0.0f);
  for (int v = 0; v < vectors - 1; v++) {
    pb_vec d = pb_load(row + v * PB_LANES) - mean;
    squares += d * d;
  }
  pb_vec last = pb_first(pb_load(row + (vectors - 1) * PB_LANES) - mean, tail);
  squares += last * last;
  const float factor = 1.0f / __builtin_sqrtf(pb_sum(squares) / columns + epsilon);
  for (int v = 0; v < vectors; v++) {
    pb_vec x = (pb_load(row + v * PB_LANES) - mean) * factor;
    pb_store(row + v * PB_LANES, x * pb_load(scale + v * PB_LANES) + pb_load(shift + v * PB_LANES));
  }
}

#endif
