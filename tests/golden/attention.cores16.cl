/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_1e5f5a917ba2c479(global char *arena, global const char *weights, const int place, const int place0, const int place1, const int place2, const int place3) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  global const pb_number *in1 = (global const pb_number *)(arena + place1);
  global const pb_number *in2 = (global const pb_number *)(arena + place2);
  global const pb_number *in3 = (global const pb_number *)(arena + place3);
  (void)out, (void)weights, (void)in0, (void)in1, (void)in2, (void)in3;
  const int first = get_global_id(0) * 4, head = get_global_id(1);
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
  global const pb_number *q1 = in0 + (first + 1) * 48 + head * 20;
  float top1 = -FLT_MAX, sum1 = 0.0f;
  const pb_vec q1_0 = pb_load(q1 + 0) * 0.25f;
  pb_vec o1_0 = pb_splat(0.0f);
  const pb_vec q1_1 = pb_load(q1 + 4) * 0.25f;
  pb_vec o1_1 = pb_splat(0.0f);
  const pb_vec q1_2 = pb_load(q1 + 8) * 0.25f;
  pb_vec o1_2 = pb_splat(0.0f);
  const pb_vec q1_3 = pb_load(q1 + 12) * 0.25f;
  pb_vec o1_3 = pb_splat(0.0f);
  const pb_vec q1_4 = pb_load(q1 + 16) * 0.25f;
  pb_vec o1_4 = pb_splat(0.0f);
  global const pb_number *q2 = in0 + (first + 2) * 48 + head * 20;
  float top2 = -FLT_MAX, sum2 = 0.0f;
  const pb_vec q2_0 = pb_load(q2 + 0) * 0.25f;
  pb_vec o2_0 = pb_splat(0.0f);
  const pb_vec q2_1 = pb_load(q2 + 4) * 0.25f;
  pb_vec o2_1 = pb_splat(0.0f);
  const pb_vec q2_2 = pb_load(q2 + 8) * 0.25f;
  pb_vec o2_2 = pb_splat(0.0f);
  const pb_vec q2_3 = pb_load(q2 + 12) * 0.25f;
  pb_vec o2_3 = pb_splat(0.0f);
  const pb_vec q2_4 = pb_load(q2 + 16) * 0.25f;
  pb_vec o2_4 = pb_splat(0.0f);
  global const pb_number *q3 = in0 + (first + 3) * 48 + head * 20;
  float top3 = -FLT_MAX, sum3 = 0.0f;
  const pb_vec q3_0 = pb_load(q3 + 0) * 0.25f;
  pb_vec o3_0 = pb_splat(0.0f);
  const pb_vec q3_1 = pb_load(q3 + 4) * 0.25f;
  pb_vec o3_1 = pb_splat(0.0f);
  const pb_vec q3_2 = pb_load(q3 + 8) * 0.25f;
  pb_vec o3_2 = pb_splat(0.0f);
  const pb_vec q3_3 = pb_load(q3 + 12) * 0.25f;
  pb_vec o3_3 = pb_splat(0.0f);
  const pb_vec q3_4 = pb_load(q3 + 16) * 0.25f;
  pb_vec o3_4 = pb_splat(0.0f);
  for (int j = 0; j < 40; j += 4) {
    float4 s0;
    float4 s1;
    float4 s2;
    float4 s3;
    {
      global const pb_number *key = keys + (j + 0) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s0 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
      s1.s0 = pb_sum(q1_0 * k0 + q1_1 * k1 + q1_2 * k2 + q1_3 * k3 + q1_4 * k4);
      s2.s0 = pb_sum(q2_0 * k0 + q2_1 * k1 + q2_2 * k2 + q2_3 * k3 + q2_4 * k4);
      s3.s0 = pb_sum(q3_0 * k0 + q3_1 * k1 + q3_2 * k2 + q3_3 * k3 + q3_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 1) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s1 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
      s1.s1 = pb_sum(q1_0 * k0 + q1_1 * k1 + q1_2 * k2 + q1_3 * k3 + q1_4 * k4);
      s2.s1 = pb_sum(q2_0 * k0 + q2_1 * k1 + q2_2 * k2 + q2_3 * k3 + q2_4 * k4);
      s3.s1 = pb_sum(q3_0 * k0 + q3_1 * k1 + q3_2 * k2 + q3_3 * k3 + q3_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 2) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s2 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
      s1.s2 = pb_sum(q1_0 * k0 + q1_1 * k1 + q1_2 * k2 + q1_3 * k3 + q1_4 * k4);
      s2.s2 = pb_sum(q2_0 * k0 + q2_1 * k1 + q2_2 * k2 + q2_3 * k3 + q2_4 * k4);
      s3.s2 = pb_sum(q3_0 * k0 + q3_1 * k1 + q3_2 * k2 + q3_3 * k3 + q3_4 * k4);
    }
    {
      global const pb_number *key = keys + (j + 3) * 48;
      const pb_vec k0 = pb_load(key + 0);
      const pb_vec k1 = pb_load(key + 4);
      const pb_vec k2 = pb_load(key + 8);
      const pb_vec k3 = pb_load(key + 12);
      const pb_vec k4 = pb_load(key + 16);
      s0.s3 = pb_sum(q0_0 * k0 + q0_1 * k1 + q0_2 * k2 + q0_3 * k3 + q0_4 * k4);
      s1.s3 = pb_sum(q1_0 * k0 + q1_1 * k1 + q1_2 * k2 + q1_3 * k3 + q1_4 * k4);
      s2.s3 = pb_sum(q2_0 * k0 + q2_1 * k1 + q2_2 * k2 + q2_3 * k3 + q2_4 * k4);
      s3.s3 = pb_sum(q3_0 * k0 + q3_1 * k1 + q3_2 * k2 + q3_3 * k3 + q3_4 * k4);
    }
    const float4 bias = (float4)(pb_key_bias((global const int *)in3, -1000000000.0f, j + 0), pb_key_bias((global const int *)in3, -1000000000.0f, j + 1), pb_key_bias((global const int *)in3, -1000000000.0f, j + 2), pb_key_bias((global const int *)in3, -1000000000.0f, j + 3));
    s0 += bias;
    s1 += bias;
    s2 += bias;
    s3 += bias;
    const float most0 = fmax(top0, fmax(fmax(s0.x, s0.y), fmax(s0.z, s0.w)));
    const float shrink0 = pb_exp1(top0 - most0);
    s0 = pb_exp4(s0 - most0);
    top0 = most0;
    sum0 = sum0 * shrink0 + (s0.x + s0.z) + (s0.y + s0.w);
    const float most1 = fmax(top1, fmax(fmax(s1.x, s1.y), fmax(s1.z, s1.w)));
    const float shrink1 = pb_exp1(top1 - most1);
    s1 = pb_exp4(s1 - most1);
    top1 = most1;
    sum1 = sum1 * shrink1 + (s1.x + s1.z) + (s1.y + s1.w);
    const float most2 = fmax(top2, fmax(fmax(s2.x, s2.y), fmax(s2.z, s2.w)));
    const float shrink2 = pb_exp1(top2 - most2);
    s2 = pb_exp4(s2 - most2);
    top2 = most2;
    sum2 = sum2 * shrink2 + (s2.x + s2.z) + (s2.y + s2.w);
    const float most3 = fmax(top3, fmax(fmax(s3.x, s3.y), fmax(s3.z, s3.w)));
    const float shrink3 = pb_exp1(top3 - most3);
    s3 = pb_exp4(s3 - most3);
    top3 = most3;
    sum3 = sum3 * shrink3 + (s3.x + s3.z) + (s3.y + s3.w);
    o0_0 *= shrink0;
    o0_1 *= shrink0;
    o0_2 *= shrink0;
    o0_3 *= shrink0;
    o0_4 *= shrink0;
    o1_0 *= shrink1;
    o1_1 *= shrink1;
    o1_2 *= shrink1;
    o1_3 *= shrink1;
    o1_4 *= shrink1;
    o2_0 *= shrink2;
    o2_1 *= shrink2;
    o2_2 *= shrink2;
    o2_3 *= shrink2;
    o2_4 *= shrink2;
    o3_0 *= shrink3;
    o3_1 *= shrink3;
    o3_2 *= shrink3;
    o3_3 *= shrink3;
    o3_4 *= shrink3;
    {
      global const pb_number *value = values + (j + 0) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s0), v0, o0_0);
      o1_0 = mad(pb_splat(s1.s0), v0, o1_0);
      o2_0 = mad(pb_splat(s2.s0), v0, o2_0);
      o3_0 = mad(pb_splat(s3.s0), v0, o3_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s0), v1, o0_1);
      o1_1 = mad(pb_splat(s1.s0), v1, o1_1);
      o2_1 = mad(pb_splat(s2.s0), v1, o2_1);
      o3_1 = mad(pb_splat(s3.s0), v1, o3_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s0), v2, o0_2);
      o1_2 = mad(pb_splat(s1.s0), v2, o1_2);
      o2_2 = mad(pb_splat(s2.s0), v2, o2_2);
      o3_2 = mad(pb_splat(s3.s0), v2, o3_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s0), v3, o0_3);
      o1_3 = mad(pb_splat(s1.s0), v3, o1_3);
      o2_3 = mad(pb_splat(s2.s0), v3, o2_3);
      o3_3 = mad(pb_splat(s3.s0), v3, o3_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s0), v4, o0_4);
      o1_4 = mad(pb_splat(s1.s0), v4, o1_4);
      o2_4 = mad(pb_splat(s2.s0), v4, o2_4);
      o3_4 = mad(pb_splat(s3.s0), v4, o3_4);
    }
    {
      global const pb_number *value = values + (j + 1) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s1), v0, o0_0);
      o1_0 = mad(pb_splat(s1.s1), v0, o1_0);
      o2_0 = mad(pb_splat(s2.s1), v0, o2_0);
      o3_0 = mad(pb_splat(s3.s1), v0, o3_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s1), v1, o0_1);
      o1_1 = mad(pb_splat(s1.s1), v1, o1_1);
      o2_1 = mad(pb_splat(s2.s1), v1, o2_1);
      o3_1 = mad(pb_splat(s3.s1), v1, o3_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s1), v2, o0_2);
      o1_2 = mad(pb_splat(s1.s1), v2, o1_2);
      o2_2 = mad(pb_splat(s2.s1), v2, o2_2);
      o3_2 = mad(pb_splat(s3.s1), v2, o3_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s1), v3, o0_3);
      o1_3 = mad(pb_splat(s1.s1), v3, o1_3);
      o2_3 = mad(pb_splat(s2.s1), v3, o2_3);
      o3_3 = mad(pb_splat(s3.s1), v3, o3_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s1), v4, o0_4);
      o1_4 = mad(pb_splat(s1.s1), v4, o1_4);
      o2_4 = mad(pb_splat(s2.s1), v4, o2_4);
      o3_4 = mad(pb_splat(s3.s1), v4, o3_4);
    }
    {
      global const pb_number *value = values + (j + 2) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s2), v0, o0_0);
      o1_0 = mad(pb_splat(s1.s2), v0, o1_0);
      o2_0 = mad(pb_splat(s2.s2), v0, o2_0);
      o3_0 = mad(pb_splat(s3.s2), v0, o3_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s2), v1, o0_1);
      o1_1 = mad(pb_splat(s1.s2), v1, o1_1);
      o2_1 = mad(pb_splat(s2.s2), v1, o2_1);
      o3_1 = mad(pb_splat(s3.s2), v1, o3_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s2), v2, o0_2);
      o1_2 = mad(pb_splat(s1.s2), v2, o1_2);
      o2_2 = mad(pb_splat(s2.s2), v2, o2_2);
      o3_2 = mad(pb_splat(s3.s2), v2, o3_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s2), v3, o0_3);
      o1_3 = mad(pb_splat(s1.s2), v3, o1_3);
      o2_3 = mad(pb_splat(s2.s2), v3, o2_3);
      o3_3 = mad(pb_splat(s3.s2), v3, o3_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s2), v4, o0_4);
      o1_4 = mad(pb_splat(s1.s2), v4, o1_4);
      o2_4 = mad(pb_splat(s2.s2), v4, o2_4);
      o3_4 = mad(pb_splat(s3.s2), v4, o3_4);
    }
    {
      global const pb_number *value = values + (j + 3) * 48;
      const pb_vec v0 = pb_load(value + 0);
      o0_0 = mad(pb_splat(s0.s3), v0, o0_0);
      o1_0 = mad(pb_splat(s1.s3), v0, o1_0);
      o2_0 = mad(pb_splat(s2.s3), v0, o2_0);
      o3_0 = mad(pb_splat(s3.s3), v0, o3_0);
      const pb_vec v1 = pb_load(value + 4);
      o0_1 = mad(pb_splat(s0.s3), v1, o0_1);
      o1_1 = mad(pb_splat(s1.s3), v1, o1_1);
      o2_1 = mad(pb_splat(s2.s3), v1, o2_1);
      o3_1 = mad(pb_splat(s3.s3), v1, o3_1);
      const pb_vec v2 = pb_load(value + 8);
      o0_2 = mad(pb_splat(s0.s3), v2, o0_2);
      o1_2 = mad(pb_splat(s1.s3), v2, o1_2);
      o2_2 = mad(pb_splat(s2.s3), v2, o2_2);
      o3_2 = mad(pb_splat(s3.s3), v2, o3_2);
      const pb_vec v3 = pb_load(value + 12);
      o0_3 = mad(pb_splat(s0.s3), v3, o0_3);
      o1_3 = mad(pb_splat(s1.s3), v3, o1_3);
      o2_3 = mad(pb_splat(s2.s3), v3, o2_3);
      o3_3 = mad(pb_splat(s3.s3), v3, o3_3);
      const pb_vec v4 = pb_load(value + 16);
      o0_4 = mad(pb_splat(s0.s3), v4, o0_4);
      o1_4 = mad(pb_splat(s1.s3), v4, o1_4);
      o2_4 = mad(pb_splat(s2.s3), v4, o2_4);
      o3_4 = mad(pb_splat(s3.s3), v4, o3_4);
    }
  }
  {
    pb_store(o0_0 / sum0, out + (first + 0) * 48 + head * 20 + 0);
    pb_store(o0_1 / sum0, out + (first + 0) * 48 + head * 20 + 4);
    pb_store(o0_2 / sum0, out + (first + 0) * 48 + head * 20 + 8);
    pb_store(o0_3 / sum0, out + (first + 0) * 48 + head * 20 + 12);
    pb_store(o0_4 / sum0, out + (first + 0) * 48 + head * 20 + 16);
  }
  {
    pb_store(o1_0 / sum1, out + (first + 1) * 48 + head * 20 + 0);
    pb_store(o1_1 / sum1, out + (first + 1) * 48 + head * 20 + 4);
    pb_store(o1_2 / sum1, out + (first + 1) * 48 + head * 20 + 8);
    pb_store(o1_3 / sum1, out + (first + 1) * 48 + head * 20 + 12);
    pb_store(o1_4 / sum1, out + (first + 1) * 48 + head * 20 + 16);
  }
  {
    pb_store(o2_0 / sum2, out + (first + 2) * 48 + head * 20 + 0);
    pb_store(o2_1 / sum2, out + (first + 2) * 48 + head * 20 + 4);
    pb_store(o2_2 / sum2, out + (first + 2) * 48 + head * 20 + 8);
    pb_store(o2_3 / sum2, out + (first + 2) * 48 + head * 20 + 12);
    pb_store(o2_4 / sum2, out + (first + 2) * 48 + head * 20 + 16);
  }
  {
    pb_store(o3_0 / sum3, out + (first + 3) * 48 + head * 20 + 0);
    pb_store(o3_1 / sum3, out + (first + 3) * 48 + head * 20 + 4);
    pb_store(o3_2 / sum3, out + (first + 3) * 48 + head * 20 + 8);
    pb_store(o3_3 / sum3, out + (first + 3) * 48 + head * 20 + 12);
    pb_store(o3_4 / sum3, out + (first + 3) * 48 + head * 20 + 16);
  }
}
