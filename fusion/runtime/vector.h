/* Vectors of PB_VECTOR_BYTES bytes through the compiler's vector extension: AVX2, AVX-512, SSE and NEON from one source. */
#ifndef POCKETBERT_VECTOR_H
#define POCKETBERT_VECTOR_H

#ifndef PB_VECTOR_BYTES
#error "PB_VECTOR_BYTES must be defined by the target"
#endif
#define PB_LANES (PB_VECTOR_BYTES / 4)
#define PB_INLINE static inline __attribute__((always_inline))
#define PB_UNROLL _Pragma("clang loop unroll(full)")

typedef float pb_vec __attribute__((vector_size(PB_VECTOR_BYTES)));
typedef int pb_ivec __attribute__((vector_size(PB_VECTOR_BYTES)));
typedef unsigned pb_uvec __attribute__((vector_size(PB_VECTOR_BYTES)));
typedef float pb_vec_unaligned __attribute__((vector_size(PB_VECTOR_BYTES), aligned(4), may_alias));

PB_INLINE pb_vec pb_load(const float *p) { return *(const pb_vec_unaligned *)p; }
PB_INLINE void pb_store(float *p, pb_vec v) { *(pb_vec_unaligned *)p = v; }
PB_INLINE pb_vec pb_splat(float x) { return (pb_vec){0} + x; }

PB_INLINE pb_vec pb_select(pb_ivec mask, pb_vec yes, pb_vec no) {
  return (pb_vec)((mask & (pb_ivec)yes) | (~mask & (pb_ivec)no));
}
PB_INLINE pb_vec pb_max(pb_vec a, pb_vec b) { return pb_select(a > b, a, b); }
PB_INLINE pb_vec pb_min(pb_vec a, pb_vec b) { return pb_select(a < b, a, b); }

/* Lanes i and i + half added, for each half down to one: a short chain of dependent additions. */
PB_INLINE float pb_sum(pb_vec v) {
#if PB_LANES >= 16
  v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
#endif
#if PB_LANES == 16
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif PB_LANES == 8
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
  return (v[0] + v[2]) + (v[1] + v[3]);
}
/* v with all lanes from `count` on set to zero; count is a constant after inlining. */
PB_INLINE pb_vec pb_first(pb_vec v, int count) {
  PB_UNROLL for (int i = 0; i < PB_LANES; i++) if (i >= count) v[i] = 0;
  return v;
}

/* The transpose of a square of PB_LANES vectors, in place: each stage deals the rows' lanes out like two halves of a
   pack of cards. */
#if PB_LANES == 4
#define PB_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define PB_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#elif PB_LANES == 8
#define PB_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define PB_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif PB_LANES == 16
#define PB_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define PB_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif
PB_INLINE void pb_transpose_square(pb_vec *rows) {
  pb_vec next[PB_LANES];
  PB_UNROLL for (int stage = 1; stage < PB_LANES; stage *= 2) {
    PB_UNROLL for (int i = 0; i < PB_LANES / 2; i++) {
      next[2 * i] = PB_ZIP_LOW(rows[i], rows[i + PB_LANES / 2]);
      next[2 * i + 1] = PB_ZIP_HIGH(rows[i], rows[i + PB_LANES / 2]);
    }
    PB_UNROLL for (int i = 0; i < PB_LANES; i++) rows[i] = next[i];
  }
}

/* exp(x), relative error below 2e-7 for x in [-87, 88]; smaller x give about 1e-38, larger ones exp(88). */
PB_INLINE pb_vec pb_exp(pb_vec x) {
  x = pb_min(pb_max(x, pb_splat(-87.0f)), pb_splat(88.0f));
  const pb_vec shift = pb_splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
  pb_vec t = x * 1.44269504088896341f + shift;
  pb_ivec exponent = (pb_ivec)((pb_uvec)t << 23); /* of the shift's own bits none is left */
  pb_vec n = t - shift;
  pb_vec r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  pb_vec p = pb_splat(1.9875691500e-4f); /* Cephes expf */
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return (pb_vec)((pb_ivec)p + exponent);
}

/* factor * erf(scale * x), absolute error below 5e-7 * factor: the rational approximation of Eigen and XLA, odd in x,
   clamped at 4. Scale and factor are constants after inlining and go into the coefficients. */
PB_INLINE pb_vec pb_scaled_erf(pb_vec x, const float scale, const float factor) {
  const float s = scale * scale, first = scale * factor;
  x = pb_min(pb_max(x, pb_splat(-4.0f / scale)), pb_splat(4.0f / scale));
  pb_vec y = x * x;
  pb_vec p = pb_splat(-2.72614225801306e-10f * first * (s * s * s * s * s * s));
  p = p * y + 2.77068142495902e-08f * first * (s * s * s * s * s);
  p = p * y + -2.10102402082508e-06f * first * (s * s * s * s);
  p = p * y + -5.69250639462346e-05f * first * (s * s * s);
  p = p * y + -7.34990630326855e-04f * first * (s * s);
  p = p * y + -2.95459980854025e-03f * first * s;
  p = p * y + -1.60960333262415e-02f * first;
  pb_vec q = pb_splat(-1.45660718464996e-05f * (s * s * s * s));
  q = q * y + -2.13374055278905e-04f * (s * s * s);
  q = q * y + -1.68282697438203e-03f * (s * s);
  q = q * y + -7.37332916720468e-03f * s;
  q = q * y + -1.42647390514189e-02f;
  return x * p / q;
}

PB_INLINE pb_vec pb_erf(pb_vec x) { return pb_scaled_erf(x, 1.0f, 1.0f); }

/* tanh(x), absolute error below 5e-7. */
PB_INLINE pb_vec pb_tanh(pb_vec x) {
  pb_vec clamped = pb_min(pb_max(x, pb_splat(-10.0f)), pb_splat(10.0f));
  return 1.0f - 2.0f / (pb_exp(clamped + clamped) + 1.0f);
}

PB_INLINE pb_vec pb_sigmoid(pb_vec x) { return 1.0f / (1.0f + pb_exp(-x)); }
PB_INLINE pb_vec pb_silu(pb_vec x) { return x * pb_sigmoid(x); }
PB_INLINE pb_vec pb_gelu(pb_vec x) { return x * (0.5f + pb_scaled_erf(x, 0.70710678118654752f, 0.5f)); }
PB_INLINE pb_vec pb_gelu_tanh(pb_vec x) {
  return x * 0.5f * (1.0f + pb_tanh(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}
PB_INLINE pb_vec pb_relu(pb_vec x) { return pb_max(x, pb_splat(0.0f)); }

#endif
