/* Functions of whole rows that stand behind an encoder: softmax, its logarithm, L2 normalisation, pooling, the largest. */
#ifndef POCKETBERT_ROWS_H
#define POCKETBERT_ROWS_H
#include "block.h"
#include <float.h>

PB_INLINE float pb_largest(const float *row, const int columns) {
  float largest = row[0];
  int n = 0;
  if (columns >= PB_LANES) {
    pb_vec top = pb_load(row);
    for (n = PB_LANES; n + PB_LANES <= columns; n += PB_LANES) top = pb_max(pb_load(row + n), top);
    for (int i = 0; i < PB_LANES; i++) largest = top[i] > largest ? top[i] : largest;
  }
  for (; n < columns; n++) largest = row[n] > largest ? row[n] : largest;
  return largest;
}

/* log(x) of a positive number, relative error below 1e-9: x = m 2^e, log m = 2 artanh((m - 1) / (m + 1)). */
PB_INLINE double pb_log(double x) {
  union {
    double value;
    long long bits;
  } number = {x};
  const int exponent = (int)(number.bits >> 52) - 1023;
  number.bits = (number.bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL;
  const double t = (number.value - 1) / (number.value + 1), square = t * t;
  double sum = 0;
  for (int k = 19; k > 0; k -= 2) sum = sum * square + 1.0 / k;
  return 2 * t * sum + exponent * 0.69314718055994531;
}

/* exp(x - largest) in place; returns the sum. What lies between `columns` and the last whole vector becomes zero. */
PB_INLINE float pb_exponentials(float *row, const int columns, const float largest) {
  const int vectors = PB_VECTORS(columns), tail = columns - (vectors - 1) * PB_LANES;
  pb_vec total = pb_splat(0.0f);
  for (int v = 0; v < vectors; v++) {
    pb_vec x = pb_exp(pb_load(row + v * PB_LANES) - largest);
    if (v == vectors - 1) x = pb_first(x, tail);
    pb_store(row + v * PB_LANES, x);
    total += x;
  }
  return pb_sum(total);
}

PB_INLINE void pb_row_softmax(float *row, const int columns) {
  const float sum = pb_exponentials(row, columns, pb_largest(row, columns));
  for (int n = 0; n < columns; n += PB_LANES) pb_store(row + n, pb_load(row + n) / sum);
}

PB_INLINE void pb_row_log_softmax(float *row, const int columns) {
  const int vectors = PB_VECTORS(columns), tail = columns - (vectors - 1) * PB_LANES;
  const float largest = pb_largest(row, columns);
  pb_vec total = pb_splat(0.0f);
  for (int v = 0; v < vectors; v++) {
    pb_vec x = pb_exp(pb_load(row + v * PB_LANES) - largest);
    total += v == vectors - 1 ? pb_first(x, tail) : x;
  }
  const float shift = (float)pb_log(pb_sum(total));
  for (int n = 0; n < columns; n += PB_LANES) pb_store(row + n, pb_load(row + n) - largest - shift);
}

/* Divides a row by max(sqrt(sum of squares + inside), floor) + outside: the spellings of L2 normalisation. */
PB_INLINE void pb_l2_norm(float *row, const int columns, const float inside, const float floor, const float outside) {
  const int vectors = PB_VECTORS(columns), tail = columns - (vectors - 1) * PB_LANES;
  pb_vec squares = pb_splat(0.0f);
  for (int v = 0; v < vectors; v++) {
    pb_vec x = pb_load(row + v * PB_LANES);
    if (v == vectors - 1) x = pb_first(x, tail);
    squares += x * x;
  }
  float norm = __builtin_sqrtf(pb_sum(squares) + inside);
  norm = (norm < floor ? floor : norm) + outside;
  for (int n = 0; n < columns; n += PB_LANES) pb_store(row + n, pb_load(row + n) / norm);
}

PB_INLINE int pb_count(const int *mask, const int tokens) {
  int count = 0;
  for (int i = 0; i < tokens; i++) count += mask[i] != 0;
  return count;
}

/* A scale of zero leaves nothing of x, whatever it is. */
PB_INLINE pb_vec pb_scaled(pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

/* Functions of all rows of one vector of columns; the tables' entries for kept tokens lie `width` behind the others. */
#define PB_POOL(name, join)                                                                                      \
  PB_INLINE pb_vec pb_pool_##name(const float *rows, const long stride, const int count, const int *mask,       \
                                  const float *scales, const float *shifts, const int width) {                  \
    pb_vec total = pb_splat(0.0f);                                                                              \
    for (int r = 0; r < count; r++) {                                                                           \
      pb_vec x = pb_load(rows + r * stride);                                                                    \
      if (mask) x = pb_scaled(x, scales[(mask[r] != 0) * width], shifts[(mask[r] != 0) * width]);               \
      total = r ? (join) : x;                                                                                   \
    }                                                                                                           \
    return total;                                                                                               \
  }
PB_POOL(sum, total + x)
PB_POOL(max, pb_max(total, x))
PB_POOL(min, pb_min(total, x))

/* The `count` largest (or smallest) numbers of a row in order, or the columns where they stand; of equal ones the
   first comes first, or the last. */
PB_INLINE void pb_top(const float *row, const int columns, float *out, const int count, const int indices,
                      const int largest, const int last) {
  int before = -1;
  for (int k = 0; k < count; k++) {
    int best = -1;
    for (int i = 0; i < columns; i++) {
      const int n = last ? columns - 1 - i : i;
      if (before >= 0) { /* after the one before, in the order that is asked for */
        const float a = largest ? row[n] : -row[n], b = largest ? row[before] : -row[before];
        if (a > b || (a == b && (last ? n >= before : n <= before))) continue;
      }
      if (best < 0 || (largest ? row[n] > row[best] : row[n] < row[best])) best = n;
    }
    before = best < 0 ? 0 : best;
    out[k] = indices ? (float)before : row[before];
  }
}

#endif
