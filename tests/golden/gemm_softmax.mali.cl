/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(8, 8, 1)))
kernel void pb_b948f8b52e21e62e(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int column = get_global_id(0) * 4;
  const int row = get_global_id(1) * 4;
  if (column >= 9 || row >= 20) return;
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
      const pb_vec w0 = pb_load(b + k * 16 + 0);
      s0_0 = mad(pb_splat(x0.s0), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s0), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s0), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s0), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 1) * 16 + 0);
      s0_0 = mad(pb_splat(x0.s1), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s1), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s1), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s1), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 2) * 16 + 0);
      s0_0 = mad(pb_splat(x0.s2), w0, s0_0);
      s1_0 = mad(pb_splat(x1.s2), w0, s1_0);
      s2_0 = mad(pb_splat(x2.s2), w0, s2_0);
      s3_0 = mad(pb_splat(x3.s2), w0, s3_0);
    }
    {
      const pb_vec w0 = pb_load(b + (k + 3) * 16 + 0);
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
      x += pb_load_constant((global const float *)weights + 640 + n);
      pb_store(x, out + r * 16 + n);
    }
  }
  {
    const int r = row + 1, n = column + 0;
    pb_vec x = s1_0;
    {
      x += pb_load_constant((global const float *)weights + 640 + n);
      pb_store(x, out + r * 16 + n);
    }
  }
  {
    const int r = row + 2, n = column + 0;
    pb_vec x = s2_0;
    {
      x += pb_load_constant((global const float *)weights + 640 + n);
      pb_store(x, out + r * 16 + n);
    }
  }
  {
    const int r = row + 3, n = column + 0;
    pb_vec x = s3_0;
    {
      x += pb_load_constant((global const float *)weights + 640 + n);
      pb_store(x, out + r * 16 + n);
    }
  }
}

/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

#define pb_total(x) pb_total_of(x, shared, lane)
static inline float pb_total_of(const float x, local float *shared, const int lane) {
  shared[lane] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  float all = shared[0];
  for (int i = 1; i < 32; i++) all = all + shared[i];
  barrier(CLK_LOCAL_MEM_FENCE);
  return all;
}
#define pb_most(x) pb_most_of(x, shared, lane)
static inline float pb_most_of(const float x, local float *shared, const int lane) {
  shared[lane] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  float all = shared[0];
  for (int i = 1; i < 32; i++) all = fmax(all, shared[i]);
  barrier(CLK_LOCAL_MEM_FENCE);
  return all;
}
__attribute__((reqd_work_group_size(32, 1, 1)))
kernel void pb_b948f8b52e21e62e_rows(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int lane = get_local_id(0), r = get_group_id(1);
  local float shared[32];
  global pb_number *row = out + r * 16;
  pb_vec top = pb_splat(-FLT_MAX), sums = pb_splat(0.0f);
  float first = -FLT_MAX, rest = 0.0f;
  for (int n = lane * 4; n < 8; n += 128) top = fmax(top, pb_load(row + n));
  if (lane == 2)
    for (int n = 8; n < 9; n++) first = fmax(first, pb_load1(row + n));
  const float most = pb_most(fmax(pb_largest(top), first));
  for (int n = lane * 4; n < 8; n += 128) sums += pb_exp(pb_load(row + n) - most);
  if (lane == 2)
    for (int n = 8; n < 9; n++) rest += pb_exp1(pb_load1(row + n) - most);
  const float sum = pb_total(pb_sum(sums) + rest);
  for (int n = lane * 4; n < 8; n += 128) pb_store(pb_exp(pb_load(row + n) - most) / sum, row + n);
  if (lane == 2)
    for (int n = 8; n < 9; n++) pb_store1(pb_exp1(pb_load1(row + n) - most) / sum, row + n);
}
