/* int8 on 64-bit ARM: signed bytes of rows times signed bytes of weights. */
#ifndef POCKETBERT_INT8_ARM_H
#define POCKETBERT_INT8_ARM_H
#include <arm_neon.h>

#define PB_INT8_OFFSET 0
#define PB_ROLLED _Pragma("clang loop unroll(disable)")

PB_INLINE pb_ivec pb_nearest(const pb_vec x) { return (pb_ivec)vcvtnq_s32_f32((float32x4_t)x); }
PB_INLINE pb_ivec pb_bytes(const pb_ivec *x) {
  const int16x8_t low = vcombine_s16(vqmovn_s32((int32x4_t)x[0]), vqmovn_s32((int32x4_t)x[1]));
  const int16x8_t high = vcombine_s16(vqmovn_s32((int32x4_t)x[2]), vqmovn_s32((int32x4_t)x[3]));
  return (pb_ivec)vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
}

/* Cache lines from `ahead` on for groups g .. g + count - 1. */
PB_INLINE void pb_fetch(const int fetch, const char *ahead, const long g, const int count) {
  if (fetch) PB_UNROLL for (int i = 0; i < count; i++) __builtin_prefetch(ahead + 64 * (g + i), 0, 2);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define PB_INT8_GROUP 8
/* Two rows by two columns a register: rows 2i and 2i + 1, columns 2j and 2j + 1. */
PB_INLINE void pb_mmla(const int rows, const int vectors, const int8x16_t *pairs, const signed char *w,
                       int32x4_t squares[PB_MAX_ROWS / 2][2 * PB_MAX_VECTORS]) {
  PB_UNROLL for (int j = 0; j < 2 * vectors; j++) {
    const int8x16_t columns = vld1q_s8(w + 16 * j);
    PB_UNROLL for (int i = 0; i < (rows + 1) / 2; i++) squares[i][j] = vmmlaq_s32(squares[i][j], pairs[i], columns);
  }
}

PB_INLINE void pb_int8_sums(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const long groups, const int fetch, const char *ahead,
                            pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const signed char *x = a, *w = b;
  const int pairs = (rows + 1) / 2, bytes = vectors * PB_LANES * PB_INT8_GROUP;
  int32x4_t squares[PB_MAX_ROWS / 2][2 * PB_MAX_VECTORS];
  PB_UNROLL for (int i = 0; i < pairs; i++)
    PB_UNROLL for (int j = 0; j < 2 * vectors; j++) squares[i][j] = vdupq_n_s32(0);
  long g = 0;
  PB_ROLLED for (; g + 2 <= groups; g += 2, w += 2 * bytes) {
    int8x16_t first[PB_MAX_ROWS / 2], second[PB_MAX_ROWS / 2];
    pb_fetch(fetch, ahead, g, 2);
    PB_UNROLL for (int i = 0; i < pairs; i++) {
      const signed char *row = x + 2 * i * a_stride + g * PB_INT8_GROUP;
      const int64x2_t upper = (int64x2_t)vld1q_s8(row);
      const int64x2_t lower = 2 * i + 1 < rows ? (int64x2_t)vld1q_s8(row + a_stride) : upper;
      first[i] = (int8x16_t)vzip1q_s64(upper, lower), second[i] = (int8x16_t)vzip2q_s64(upper, lower);
    }
    pb_mmla(rows, vectors, first, w, squares);
    pb_mmla(rows, vectors, second, w + bytes, squares);
  }
  if (g < groups) {
    int8x16_t last[PB_MAX_ROWS / 2];
    pb_fetch(fetch, ahead, g, 1);
    PB_UNROLL for (int i = 0; i < pairs; i++) {
      const signed char *row = x + 2 * i * a_stride + g * PB_INT8_GROUP;
      last[i] = vcombine_s8(vld1_s8(row), vld1_s8(2 * i + 1 < rows ? row + a_stride : row));
    }
    pb_mmla(rows, vectors, last, w, squares);
  }
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const int64x2_t left = (int64x2_t)squares[r / 2][2 * v], right = (int64x2_t)squares[r / 2][2 * v + 1];
      sums[r][v] = (pb_ivec)(r % 2 ? vzip2q_s64(left, right) : vzip1q_s64(left, right));
    }
}

#elif defined(__ARM_FEATURE_DOTPROD)
#define PB_INT8_GROUP 4
/* The next 16 bytes of weights. What hides the pointer from the compiler keeps it from loading two lines at once, for
   which Cortex-A55 waits longer than for one. */
PB_INLINE int8x16_t pb_next_line(const signed char **w) {
  __asm__("" : "+r"(*w));
  const int8x16_t line = vld1q_s8(*w);
  *w += 16;
  return line;
}

/* found[rows x vectors] += the products of an even number of groups, two at a time: a row's are a load of eight bytes,
   which issues beside a multiplication in Cortex-A55, while one of 16 holds up all else for two cycles. */
PB_INLINE void pb_plain_dots(const int rows, const int vectors, const signed char *x, const long a_stride,
                             const signed char *w, const long groups, const int fetch, const char *ahead,
                             int32x4_t found[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  PB_ROLLED for (long g = 0; g + 2 <= groups; g += 2) {
    int8x8_t row[PB_MAX_ROWS];
    pb_fetch(fetch, ahead, g, 2);
    PB_UNROLL for (int r = 0; r < rows; r++) row[r] = vld1_s8(x + r * a_stride + g * PB_INT8_GROUP);
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const int8x16_t line = pb_next_line(&w);
      PB_UNROLL for (int r = 0; r < rows; r++) found[r][v] = vdotq_lane_s32(found[r][v], line, row[r], 0);
    }
    PB_UNROLL for (int v = 0; v < vectors; v++) {
      const int8x16_t line = pb_next_line(&w);
      PB_UNROLL for (int r = 0; r < rows; r++) found[r][v] = vdotq_lane_s32(found[r][v], line, row[r], 1);
    }
  }
}

/* Two groups: `row` holds eight bytes of each row and `line` the first vector of weights; they are left as the step at
   `next_row` and `next_w` needs them. A vector is loaded five multiplications before its use: a load of 16 bytes takes
   four cycles. */
PB_INLINE void pb_pipelined_dot(const int rows, const int vectors, const signed char *next_row, const long a_stride,
                                const signed char *w, const signed char *next_w, const int fetch, const char *ahead,
                                int8x8_t *row, int8x16_t *line, int32x4_t found[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  PB_UNROLL for (int i = 0; i < 2 * vectors; i++) {
    const int v = i % vectors, last = i + 1 == 2 * vectors;
    int8x16_t next;
    PB_UNROLL for (int r = 0; r < rows; r++) {
      found[r][v] = i < vectors ? vdotq_lane_s32(found[r][v], *line, row[r], 0)
                                : vdotq_lane_s32(found[r][v], *line, row[r], 1);
      PB_IN_ORDER(found[r][v], row[(r + 1) % rows]);
      if (last) row[r] = vld1_s8(next_row + r * a_stride);
      if (r == (rows > 5 ? rows - 5 : 0)) next = vld1q_s8(last ? next_w : w + 16 * (i + 1));
      if (fetch && r + 1 == rows && v == 0) __builtin_prefetch(ahead + 64 * (i / vectors), 0, 2);
    }
    *line = next;
  }
}

/* `pb_plain_dots` with the operands of a multiplication loaded beside earlier ones; groups are two at least. The last
   two load what they have once more. */
PB_INLINE void pb_pipelined_dots(const int rows, const int vectors, const signed char *x, const long a_stride,
                                 const signed char *w, const long groups, const int fetch, const char *ahead,
                                 int32x4_t found[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  int8x8_t row[PB_MAX_ROWS];
  int8x16_t line = vld1q_s8(w);
  PB_UNROLL for (int r = 0; r < rows; r++) row[r] = vld1_s8(x + r * a_stride);
  PB_ROLLED for (long left = groups; left >= 2;) {
    left -= 2;
    const long step = left >= 2 ? 2 * PB_INT8_GROUP : 0;
    const signed char *next_w = w + 4 * vectors * step;
    x += step;
    pb_pipelined_dot(rows, vectors, x, a_stride, w, next_w, fetch, ahead, row, &line, found);
    w = next_w;
    ahead += 128;
  }
}

PB_INLINE void pb_int8_sums(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const long groups, const int fetch, const char *ahead,
                            pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const signed char *x = a, *w = b;
  int32x4_t found[PB_MAX_ROWS][PB_MAX_VECTORS];
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) found[r][v] = vdupq_n_s32(0);
  const int pipelined = PB_PIPELINED(rows, vectors) && groups >= 2;
  (pipelined ? pb_pipelined_dots : pb_plain_dots)(rows, vectors, x, a_stride, w, groups, fetch, ahead, found);
  if (groups % 2) {
    const long g = groups - 1;
    w += 16 * vectors * g;
    pb_fetch(fetch, ahead, g, 1);
    PB_UNROLL for (int v = 0; v < vectors; v++, w += 16) {
      const int8x16_t line = vld1q_s8(w);
      PB_UNROLL for (int r = 0; r < rows; r++) {
        const int32_t *four = (const void *)(x + r * a_stride + g * PB_INT8_GROUP);
        found[r][v] = vdotq_s32(found[r][v], line, (int8x16_t)vld1q_dup_s32(four));
      }
    }
  }
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (pb_ivec)found[r][v];
}

#else
#define PB_INT8_GROUP 4
/* Without a dot product: eight products in 16 bits, those of two groups added there (2 * 127 * 128 fits), then in pairs
   to 32 bits. A register holds two columns, two sums each. */
PB_INLINE void pb_int8_few(const int rows, const int vectors, const void *restrict a, const long a_stride,
                           const void *restrict b, const long groups, const int fetch, const char *ahead,
                           pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const signed char *x = a, *w = b;
  int32x4_t halves[PB_MAX_ROWS][2 * PB_MAX_VECTORS];
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int j = 0; j < 2 * vectors; j++) halves[r][j] = vdupq_n_s32(0);
  long g = 0;
  PB_ROLLED for (; g + 2 <= groups; g += 2, w += 32 * vectors) {
    int8x8_t first[PB_MAX_ROWS], second[PB_MAX_ROWS];
    pb_fetch(fetch, ahead, g, 2);
    PB_UNROLL for (int r = 0; r < rows; r++) {
      const int32_t *eight = (const void *)(x + r * a_stride + g * PB_INT8_GROUP);
      first[r] = (int8x8_t)vld1_dup_s32(eight), second[r] = (int8x8_t)vld1_dup_s32(eight + 1);
    }
    PB_UNROLL for (int j = 0; j < 2 * vectors; j++) {
      const int8x8_t line = vld1_s8(w + 8 * j), next = vld1_s8(w + 16 * vectors + 8 * j);
      PB_UNROLL for (int r = 0; r < rows; r++)
        halves[r][j] = vpadalq_s16(halves[r][j], vmlal_s8(vmull_s8(line, first[r]), next, second[r]));
    }
  }
  if (g < groups) {
    pb_fetch(fetch, ahead, g, 1);
    PB_UNROLL for (int r = 0; r < rows; r++) {
      const int32_t *four = (const void *)(x + r * a_stride + g * PB_INT8_GROUP);
      const int8x8_t all = (int8x8_t)vld1_dup_s32(four);
      PB_UNROLL for (int j = 0; j < 2 * vectors; j++)
        halves[r][j] = vpadalq_s16(halves[r][j], vmull_s8(vld1_s8(w + 8 * j), all));
    }
  }
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++)
      sums[r][v] = (pb_ivec)vpaddq_s32(halves[r][2 * v], halves[r][2 * v + 1]);
}

/* Tiles that were chosen for dot products have more rows than registers hold here: a few at a time. */
PB_INLINE void pb_int8_sums(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const long groups, const int fetch, const char *ahead,
                            pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const int most = vectors > 2 ? 3 : 4;
  PB_UNROLL for (int r = 0; r < rows; r += most)
    pb_int8_few(rows - r < most ? rows - r : most, vectors, (const char *)a + r * a_stride, a_stride, b, groups,
                fetch && !r, ahead, sums + r);
}
#endif

#endif
