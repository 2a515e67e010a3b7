/* The steps of attention around its products. Constants after inlining: counts, sizes, strides, whether there is a mask. */
#ifndef POCKETBERT_ATTENTION_H
#define POCKETBERT_ATTENTION_H
#include "block.h"
#include <float.h>

/* out[d * width + r] = scale * rows[r * stride + d] for r < count and d < size; zero for r up to width. */
PB_INLINE void pb_transpose(const float *rows, const long stride, float *out, const int width, const int count,
                            const int size, const float scale) {
  for (int r = 0; r < width; r += PB_LANES) {
    int d = 0;
    for (; d + PB_LANES <= size; d += PB_LANES) {
      pb_vec square[PB_LANES];
      PB_UNROLL for (int i = 0; i < PB_LANES; i++)
        square[i] = r + i < count ? pb_load(rows + (r + i) * stride + d) * scale : pb_splat(0.0f);
      pb_transpose_square(square);
      PB_UNROLL for (int i = 0; i < PB_LANES; i++) pb_store(out + (long)(d + i) * width + r, square[i]);
    }
    for (; d < size; d++)
      for (int i = r; i < r + PB_LANES; i++) out[(long)d * width + i] = i < count ? rows[i * stride + d] * scale : 0.0f;
  }
}

/* What the mask adds to the scores of key j. */
PB_INLINE float pb_key_bias(const int *mask, const float masked, const int j) {
  return mask && !mask[j] ? masked : 0.0f;
}

/* Some vectors of queries at once: turns scores (keys x queries, stride apart) into exp(score + bias - top), where top
   is the largest so far, and brings the running sums up to date; `factors` is what earlier results shrink by. */
PB_INLINE void pb_online_softmax(const int vectors, float *scores, const long stride, const int keys, const int first,
                                 const int *mask, const float masked, float *top, float *sums, float *factors) {
  pb_vec before[PB_MAX_VECTORS], largest[PB_MAX_VECTORS], sum[PB_MAX_VECTORS];
  PB_UNROLL for (int v = 0; v < vectors; v++)
    largest[v] = before[v] = first ? pb_splat(-FLT_MAX) : pb_load(top + v * PB_LANES);
  for (int j = 0; j < keys; j++) {
    const float bias = pb_key_bias(mask, masked, j);
    PB_UNROLL for (int v = 0; v < vectors; v++)
      largest[v] = pb_max(pb_load(scores + j * stride + v * PB_LANES) + bias, largest[v]);
  }
  PB_UNROLL for (int v = 0; v < vectors; v++) {
    const pb_vec factor = pb_exp(before[v] - largest[v]);
    sum[v] = first ? pb_splat(0.0f) : pb_load(sums + v * PB_LANES) * factor;
    pb_store(factors + v * PB_LANES, factor);
    pb_store(top + v * PB_LANES, largest[v]);
  }
  for (int j = 0; j < keys; j++) {
    const float bias = pb_key_bias(mask, masked, j);
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      pb_vec x = pb_exp(pb_load(scores + j * stride + v * PB_LANES) + bias - largest[v]);
      pb_store(scores + j * stride + v * PB_LANES, x);
      sum[v] += x;
    }
  }
  PB_UNROLL for (int v = 0; v < vectors; v++) pb_store(sums + v * PB_LANES, sum[v]);
}

PB_INLINE void pb_copy_rows(const float *from, const long stride, float *to, const long to_stride, const int rows,
                            const int size) {
  for (int r = 0; r < rows; r++) {
    int d = 0;
    for (; d + PB_LANES <= size; d += PB_LANES) pb_store(to + r * to_stride + d, pb_load(from + r * stride + d));
    for (; d < size; d++) to[r * to_stride + d] = from[r * stride + d];
  }
}

PB_INLINE void pb_scale_rows(float *rows, const long stride, const float *factors, const int count, const int columns) {
  for (int r = 0; r < count; r++)
    for (int d = 0; d < columns; d += PB_LANES)
      pb_store(rows + r * stride + d, pb_load(rows + r * stride + d) * factors[r]);
}

PB_INLINE void pb_store_scaled(float *out, const float *row, const float factor, const int size) {
  int d = 0;
  for (; d + PB_LANES <= size; d += PB_LANES) pb_store(out + d, pb_load(row + d) * factor);
  for (; d < size; d++) out[d] = row[d] * factor;
}

/* exp(scale * row + bias - max) / sum in place of one row of scores over `keys`; lanes beyond them become zero. */
PB_INLINE void pb_softmax(const float *from, float *row, const int keys, const int *mask, const float masked,
                          const float scale) {
  float largest = -FLT_MAX, sum = 0.0f;
  for (int j = 0; j < keys; j++) {
    row[j] = from[j] * scale + pb_key_bias(mask, masked, j);
    largest = row[j] > largest ? row[j] : largest;
  }
  for (int j = keys; j % PB_LANES; j++) row[j] = -FLT_MAX;
  for (int j = 0; j < keys; j += PB_LANES) {
    pb_vec x = pb_exp(pb_load(row + j) - largest);
    pb_store(row + j, x);
  }
  for (int j = 0; j < keys; j++) sum += row[j];
  for (int j = 0; j < keys; j += PB_LANES) pb_store(row + j, pb_load(row + j) * (1.0f / sum));
}

#endif
