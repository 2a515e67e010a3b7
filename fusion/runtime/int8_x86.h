/* int8 on x86: unsigned bytes of rows times signed bytes of weights. In an app's library, whose weights are laid out for
   ARM, rows are signed as there: PB_INT8_OFFSET is 0 (fusion/emit/c/levels.py). */
#ifndef POCKETBERT_INT8_X86_H
#define POCKETBERT_INT8_X86_H
#include <immintrin.h>

#define PB_INT8_GROUP 4
#ifndef PB_INT8_OFFSET
#define PB_INT8_OFFSET 128
#endif

/* sum + x * w, four products a lane. Without VNNI two of them are added in 16 bits: the packer sees to it that weights
   of 0 .. 1 and of 2 .. 3 in a group are small enough (fusion/emit/c/int8_packing.py). */
#if PB_VECTOR_BYTES == 64
PB_INLINE pb_ivec pb_dot(const pb_ivec sum, const pb_ivec x, const pb_ivec w) {
#ifdef __AVX512VNNI__
  return (pb_ivec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#else
  return sum + (pb_ivec)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)x, (__m512i)w), _mm512_set1_epi16(1));
#endif
}
PB_INLINE pb_ivec pb_nearest(const pb_vec x) { return (pb_ivec)_mm512_cvtps_epi32((__m512)x); }
PB_INLINE pb_ivec pb_bytes(const pb_ivec *x) {
  const __m512i low = _mm512_packs_epi32((__m512i)x[0], (__m512i)x[1]);
  const __m512i high = _mm512_packs_epi32((__m512i)x[2], (__m512i)x[3]);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return (pb_ivec)_mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high)); /* packing keeps to quarters */
}
#elif PB_VECTOR_BYTES == 32
PB_INLINE pb_ivec pb_dot(const pb_ivec sum, const pb_ivec x, const pb_ivec w) {
#ifdef __AVXVNNI__
  return (pb_ivec)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
#else
  return sum + (pb_ivec)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)w), _mm256_set1_epi16(1));
#endif
}
PB_INLINE pb_ivec pb_nearest(const pb_vec x) { return (pb_ivec)_mm256_cvtps_epi32((__m256)x); }
PB_INLINE pb_ivec pb_bytes(const pb_ivec *x) {
  const __m256i low = _mm256_packs_epi32((__m256i)x[0], (__m256i)x[1]);
  const __m256i high = _mm256_packs_epi32((__m256i)x[2], (__m256i)x[3]);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return (pb_ivec)_mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order); /* packing keeps to halves */
}
#else
PB_INLINE pb_ivec pb_dot(const pb_ivec sum, const pb_ivec x, const pb_ivec w) {
#if PB_INT8_OFFSET
  return sum + (pb_ivec)_mm_madd_epi16(_mm_maddubs_epi16((__m128i)x, (__m128i)w), _mm_set1_epi16(1));
#else
  const __m128i wide = _mm_cvtepi8_epi16((__m128i)x), upper = _mm_srli_si128((__m128i)w, 8);
  const __m128i low = _mm_madd_epi16(wide, _mm_cvtepi8_epi16((__m128i)w));
  return sum + (pb_ivec)_mm_hadd_epi32(low, _mm_madd_epi16(wide, _mm_cvtepi8_epi16(upper)));
#endif
}
PB_INLINE pb_ivec pb_nearest(const pb_vec x) { return (pb_ivec)_mm_cvtps_epi32((__m128)x); }
PB_INLINE pb_ivec pb_bytes(const pb_ivec *x) {
  const __m128i low = _mm_packs_epi32((__m128i)x[0], (__m128i)x[1]);
  const __m128i high = _mm_packs_epi32((__m128i)x[2], (__m128i)x[3]);
  return (pb_ivec)_mm_packs_epi16(low, high);
}
#endif

/* See runtime/int8.h. */
PB_INLINE void pb_int8_sums(const int rows, const int vectors, const void *restrict a, const long a_stride,
                            const void *restrict b, const long groups, const int fetch, const char *ahead,
                            pb_ivec sums[PB_MAX_ROWS][PB_MAX_VECTORS]) {
  const char *x = a, *w = b;
  PB_UNROLL for (int r = 0; r < rows; r++)
    PB_UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (pb_ivec){0};
  for (long g = 0; g < groups; g++, w += vectors * PB_VECTOR_BYTES) {
    pb_ivec line[PB_MAX_VECTORS];
    if (fetch) __builtin_prefetch(ahead + 64 * g, 0, 2);
    PB_UNROLL for (int v = 0; v < vectors; v++) line[v] = pb_load_bytes(w + v * PB_VECTOR_BYTES);
    PB_UNROLL for (int r = 0; r < rows; r++) {
      int four;
      __builtin_memcpy(&four, x + r * a_stride + g * PB_INT8_GROUP, sizeof four);
      const pb_ivec all = (pb_ivec){0} + four;
      PB_UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = pb_dot(sums[r][v], all, line[v]);
    }
  }
}

#endif
