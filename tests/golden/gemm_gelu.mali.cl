/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(8, 8, 1)))
kernel void pb_bfd351c68a7bd4c8(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int column = get_global_id(0) * 4;
  const int row = get_global_id(1) * 4;
  if (column >= 100 || row >= 20) return;
  global const pb_number *a0 = in0 + (row + 0) * 48;
  global const pb_number *a1 = in0 + (row + 1) * 48;
  global const pb_number *a2 = in0 + (row + 2) * 48;
  global const pb_number *a3 = in0 + (row + 3) * 48;
  global const pb_number *b = (global const pb_number *)weights + column;
  pb_vec s0_0 = pb_splat(0.0f);
  pb_vec s1_0 = pb_splat(0.0f);
  pb_vec s2_0 = pb_splat(0.0f);
  pb_vec s3_0 = pb_splat(0.0f);
  for (int k = 0; k < 40; k += 4) {
    const float4 x0 = pb_load4(a0 + k);
    const float4 x1 = pb_load4(a1 + k);
    const float4 x2 = pb_load4(a2 + k);
    const float4 x3 = pb_load4(a3 + k);
    {
      const pb_vec w0 = pb_load(b + k * 112 + 0);
      s0_0 = mad(pb_splat(x0.s0), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s0), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s0), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s0), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 1) * 112 + 0);
      s0_0 = mad(pb_splat(x0.s1), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s1), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s1), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s1), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 2) * 112 + 0);
      s0_0 = mad(pb_splat(x0.s2), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s2), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s2), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s2), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 3) * 112 + 0);
      s0_0 = mad(pb_splat(x0.s3), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s3), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s3), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s3), w0, s3_0);
    }
  }
  {
    const int r = row + 0, n = column + 0;
    pb_vec x = s0_0;
    {
      x += pb_load_constant((global const float *)weights + 4480 + n);
      x = pb_gelu(x);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 1, n = column + 0;
    pb_vec x = s1_0;
    {
      x += pb_load_constant((global const float *)weights + 4480 + n);
      x = pb_gelu(x);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 2, n = column + 0;
    pb_vec x = s2_0;
    {
      x += pb_load_constant((global const float *)weights + 4480 + n);
      x = pb_gelu(x);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 3, n = column + 0;
    pb_vec x = s3_0;
    {
      x += pb_load_constant((global const float *)weights + 4480 + n);
      x = pb_gelu(x);
      pb_store(x, out + r * 112 + n);
    }
  }
}
