/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(16, 1, 1)))
kernel void pb_1e5f5a917ba2c479(global char *arena, global const char *weights, const int place, const int place0, const int place1, const int place2, const int place3) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  global const pb_number *in1 = (global const pb_number *)(arena + place1);
  global const pb_number *in2 = (global const pb_number *)(arena + place2);
  global const pb_number *in3 = (global const pb_number *)(arena + place3);
  (void)out, (void)weights, (void)in0, (void)in1, (void)in2, (void)in3;
  const int first = get_global_id(0) * 1, head = get_global_id(1);
  if (first >= 40 || head >= 2) return;
  global const pb_number *keys = in1 + head * 20;
  global const pb_number *values = in2 + head * 20;
  global const pb_number *q0 = in0 + (first + 0) * 48 + head * 20;
  float top0 = -FLT_MAX, sum0 = 0.0f;
  const pb_vec q0_0 = pb_load(q0 + 0) * 0.25f;
  pb_vec o0_0 = pb_splat(0.0f);
  const pb_vec q0_1 = pb_load(q0 + 4) * 0.25f;
  pb_vec o0_1 = pb_splat(0.0f);
  const pb_vec q0_2 = pb_load(q0 + 8) * 0.25f;
  pb_vec o0_2 = pb_splat(0.0f);
  const pb_vec q0_3 = pb_load(q0 + 12) * 0.25f;
  pb_vec o0_3 = pb_splat(0.0f);
  const pb_vec q0_4 = pb_load(q0 + 16) * 0.25f;
  pb_vec o0_4 = pb_splat(0.0f);
  for (int j = 0; j < 40; j += 4) {
    float4 s0;
    {
      global const pb_number *key = keys + (j + 0) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s0 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 1) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s1 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 2) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s2 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 3) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s3 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
    }
    const float4 bias = (float4)(pb_key_bias((global const int *)in3, -1000000000.0f, j + 0), pb_key_bias((global const int *)in3, -1000000000.0f, j + 1), pb_key_bias((global const int *)in3, -1000000000.0f, j + 2), pb_key_bias((global const int *)in3, -1000000000.0f, j + 3));
    s0 += bias;
    const float most0 = fmax(top0, fmax(fmax(s0.x, s0.y), fmax(s0.z, s0.w)));
    const float shrink0 = pb_exp1(top0 - most0);
    s0 = pb_exp4(s0 - most0);
    top0 = most0;
    sum0 = sum0 * shrink0 + (s0.x + s0.z) + (s0.y + s0.w);
    o0_0 *= shrink0;
    o0_1 *= shrink0;
    o0_2 *= shrink0;
    o0_3 *= shrink0;
    o0_4 *= shrink0;
    {
      global const pb_number *value = values + (j + 0) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s0), v0, o0_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s0), v1, o0_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s0), v2, o0_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s0), v3, o0_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s0), v4, o0_4);
    }
    {
      global const pb_number *value = values + (j + 1) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s1), v0, o0_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s1), v1, o0_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s1), v2, o0_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s1), v3, o0_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s1), v4, o0_4);
    }
    {
      global const pb_number *value = values + (j + 2) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s2), v0, o0_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s2), v1, o0_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s2), v2, o0_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s2), v3, o0_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s2), v4, o0_4);
    }
    {
      global const pb_number *value = values + (j + 3) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s3), v0, o0_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s3), v1, o0_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s3), v2, o0_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s3), v3, o0_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s3), v4, o0_4);
    }
  }
  {
    pb_store(o0_0 / sum0, out + (first + 0) * 48 + head * 20 + 0);
    pb_store(o0_1 / sum0, out + (first + 0) * 48 + head * 20 + 4);
    pb_store(o0_2 / sum0, out + (first + 0) * 48 + head * 20 + 8);
    pb_store(o0_3 / sum0, out + (first + 0) * 48 + head * 20 + 12);
    pb_store(o0_4 / sum0, out + (first + 0) * 48 + head * 20 + 16);
  }
}
