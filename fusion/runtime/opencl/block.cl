/* What every kernel begins with, after PB_WIDTH: vectors of so many fp32 numbers; loads and stores of numbers that are
   kept as fp32, or as half with PB_HALF; the functions of runtime/vector.h, with the same errors. OpenCL C 1.2, no
   extension: of half there are loads and stores, which are core. */
#define PB_JOIN_(a, b) a##b
#define PB_JOIN(a, b) PB_JOIN_(a, b)
#if PB_WIDTH == 1
typedef float pb_vec;
#define PB_LOAD_FLOATS(p) (*(p))
#define PB_STORE_FLOATS(x, p) (*(p) = (x))
#define PB_LOAD_HALVES(p) vload_half(0, p)
#define PB_STORE_HALVES(x, p) vstore_half_rte(x, 0, p)
#define PB_AS_INT as_int
#define PB_AS_UINT as_uint
#define PB_AS_FLOAT as_float
#else
typedef PB_JOIN(float, PB_WIDTH) pb_vec;
#define PB_LOAD_FLOATS(p) PB_JOIN(vload, PB_WIDTH)(0, p)
#define PB_STORE_FLOATS(x, p) PB_JOIN(vstore, PB_WIDTH)(x, 0, p)
#define PB_LOAD_HALVES(p) PB_JOIN(vload_half, PB_WIDTH)(0, p)
#define PB_STORE_HALVES(x, p) PB_JOIN(PB_JOIN(vstore_half, PB_WIDTH), _rte)(x, 0, p)
#define PB_AS_INT PB_JOIN(as_int, PB_WIDTH)
#define PB_AS_UINT PB_JOIN(as_uint, PB_WIDTH)
#define PB_AS_FLOAT PB_JOIN(as_float, PB_WIDTH)
#endif

#ifdef PB_HALF
#define pb_number half
#define pb_load(p) PB_LOAD_HALVES(p)
#define pb_store(x, p) PB_STORE_HALVES(x, p)
#define pb_load1(p) vload_half(0, p)
#define pb_load4(p) vload_half4(0, p)
#define pb_store1(x, p) vstore_half_rte(x, 0, p)
#else
#define pb_number float
#define pb_load(p) PB_LOAD_FLOATS(p)
#define pb_store(x, p) PB_STORE_FLOATS(x, p)
#define pb_load1(p) (*(p))
#define pb_load4(p) vload4(0, p)
#define pb_store1(x, p) (*(p) = (x))
#endif
/* Residual sums, a model's outputs and constants of an epilogue are fp32 whatever the rest is kept as. */
#define pb_load_single(p) PB_LOAD_FLOATS(p)
#define pb_store_single(x, p) PB_STORE_FLOATS(x, p)
#define pb_load_single1(p) (*(p))
#define pb_load_single4(p) vload4(0, p)
#define pb_store_single1(x, p) (*(p) = (x))
#define pb_load_constant(p) PB_LOAD_FLOATS(p)
#define pb_splat(x) ((pb_vec)(x))

static inline float pb_sum(const pb_vec v) {
#if PB_WIDTH == 1
  return v;
#else
#if PB_WIDTH == 16
  const float8 e = v.lo + v.hi;
  const float4 q = e.lo + e.hi;
#elif PB_WIDTH == 8
  const float4 q = v.lo + v.hi;
#else
  const float4 q = v;
#endif
  return (q.x + q.z) + (q.y + q.w);
#endif
}

static inline float pb_largest(const pb_vec v) {
#if PB_WIDTH == 1
  return v;
#else
#if PB_WIDTH == 16
  const float8 e = fmax(v.lo, v.hi);
  const float4 q = fmax(e.lo, e.hi);
#elif PB_WIDTH == 8
  const float4 q = fmax(v.lo, v.hi);
#else
  const float4 q = v;
#endif
  return fmax(fmax(q.x, q.z), fmax(q.y, q.w));
#endif
}

/* exp(x), relative error below 2e-7 for x in [-87, 88]; smaller x give about 1e-38, larger ones exp(88).
   Adding 1.5 * 2^23 rounds to a whole number; the polynomial is Cephes' expf. */
#define PB_EXP(name, vec, as_whole, as_unsigned, as_number)            \
  static inline vec name(vec x) {                                      \
    x = fmin(fmax(x, (vec)(-87.0f)), (vec)(88.0f));                    \
    const vec t = x * 1.44269504088896341f + 12582912.0f;              \
    const vec n = t - 12582912.0f;                                     \
    vec r = x - n * 0.693359375f;                                      \
    r = r + n * 2.12194440e-4f;                                        \
    vec p = (vec)(1.9875691500e-4f);                                   \
    p = p * r + 1.3981999507e-3f;                                      \
    p = p * r + 8.3334519073e-3f;                                      \
    p = p * r + 4.1665795894e-2f;                                      \
    p = p * r + 1.6666665459e-1f;                                      \
    p = p * r + 5.0000001201e-1f;                                      \
    p = p * r + 1.0f;                                                  \
    p = p * r + 1.0f;                                                  \
    return as_number(as_whole(p) + as_whole(as_unsigned(t) << 23));    \
  }
PB_EXP(pb_exp, pb_vec, PB_AS_INT, PB_AS_UINT, PB_AS_FLOAT)
PB_EXP(pb_exp1, float, as_int, as_uint, as_float)
PB_EXP(pb_exp4, float4, as_int4, as_uint4, as_float4)

/* erf(x), absolute error below 5e-7: the rational approximation of Eigen and XLA, odd in x, clamped at 4. */
static inline pb_vec pb_erf(pb_vec x) {
  x = fmin(fmax(x, pb_splat(-4.0f)), pb_splat(4.0f));
  const pb_vec y = x * x;
  pb_vec p = pb_splat(-2.72614225801306e-10f);
  p = p * y + 2.77068142495902e-08f;
  p = p * y + -2.10102402082508e-06f;
  p = p * y + -5.69250639462346e-05f;
  p = p * y + -7.34990630326855e-04f;
  p = p * y + -2.95459980854025e-03f;
  p = p * y + -1.60960333262415e-02f;
  pb_vec q = pb_splat(-1.45660718464996e-05f);
  q = q * y + -2.13374055278905e-04f;
  q = q * y + -1.68282697438203e-03f;
  q = q * y + -7.37332916720468e-03f;
  q = q * y + -1.42647390514189e-02f;
  return x * p / q;
}

/* tanh(x), absolute error below 5e-7. */
static inline pb_vec pb_tanh(const pb_vec x) {
  const pb_vec clamped = fmin(fmax(x, pb_splat(-10.0f)), pb_splat(10.0f));
  return 1.0f - 2.0f / (pb_exp(clamped + clamped) + 1.0f);
}

static inline pb_vec pb_sigmoid(const pb_vec x) { return 1.0f / (1.0f + pb_exp(-x)); }
static inline pb_vec pb_silu(const pb_vec x) { return x * pb_sigmoid(x); }
static inline pb_vec pb_gelu(const pb_vec x) { return x * (0.5f + 0.5f * pb_erf(x * 0.70710678118654752f)); }
static inline pb_vec pb_gelu_tanh(const pb_vec x) {
  return x * 0.5f * (1.0f + pb_tanh(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}
static inline pb_vec pb_relu(const pb_vec x) { return fmax(x, pb_splat(0.0f)); }

/* What a mask adds to the score of key j. */
static inline float pb_key_bias(global const int *mask, const float masked, const int j) { return mask[j] ? 0.0f : masked; }

static inline int pb_count(global const int *mask, const int tokens) {
  int count = 0;
  for (int i = 0; i < tokens; i++) count += mask[i] != 0;
  return count;
}

/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}
