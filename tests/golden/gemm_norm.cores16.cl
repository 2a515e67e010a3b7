/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_17c3c69e092e1791(global char *arena, global const char *weights, const int place, const int place0, const int place1) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  global const pb_number *in1 = (global const pb_number *)(arena + place1);
  (void)out, (void)weights, (void)in0, (void)in1;
  const int column = get_global_id(1) * 32;
  const int row = get_global_id(0) * 8;
  if (column >= 100 || row >= 20) return;
  global const pb_number *a0 = in0 + min(row + 0, 19) * 5008;
  global const pb_number *a1 = in0 + min(row + 1, 19) * 5008;
  global const pb_number *a2 = in0 + min(row + 2, 19) * 5008;
  global const pb_number *a3 = in0 + min(row + 3, 19) * 5008;
  global const pb_number *a4 = in0 + min(row + 4, 19) * 5008;
  global const pb_number *a5 = in0 + min(row + 5, 19) * 5008;
  global const pb_number *a6 = in0 + min(row + 6, 19) * 5008;
  global const pb_number *a7 = in0 + min(row + 7, 19) * 5008;
  global const pb_number *b = (global const pb_number *)weights + column * 5000;
  pb_vec s0_0 = pb_splat(0.0f);
  pb_vec s0_1 = pb_splat(0.0f);
  pb_vec s1_0 = pb_splat(0.0f);
  pb_vec s1_1 = pb_splat(0.0f);
  pb_vec s2_0 = pb_splat(0.0f);
  pb_vec s2_1 = pb_splat(0.0f);
  pb_vec s3_0 = pb_splat(0.0f);
  pb_vec s3_1 = pb_splat(0.0f);
  pb_vec s4_0 = pb_splat(0.0f);
  pb_vec s4_1 = pb_splat(0.0f);
  pb_vec s5_0 = pb_splat(0.0f);
  pb_vec s5_1 = pb_splat(0.0f);
  pb_vec s6_0 = pb_splat(0.0f);
  pb_vec s6_1 = pb_splat(0.0f);
  pb_vec s7_0 = pb_splat(0.0f);
  pb_vec s7_1 = pb_splat(0.0f);
  for (int k = 0; k < 5000; k += 1) {
    const float x0 = pb_load1(a0 + k);
    const float x1 = pb_load1(a1 + k);
    const float x2 = pb_load1(a2 + k);
    const float x3 = pb_load1(a3 + k);
    const float x4 = pb_load1(a4 + k);
    const float x5 = pb_load1(a5 + k);
    const float x6 = pb_load1(a6 + k);
    const float x7 = pb_load1(a7 + k);
    {
      const pb_vec w0 = pb_load(b + k * 32 + 0);
      const pb_vec w1 = pb_load(b + k * 32 + 16);
      s0_0 = mad(pb_splat(x0), w0, s0_0);
      s0_1 = mad(pb_splat(x0), w1, s0_1);
      s1_0 = mad(pb_splat(x1), w0, s1_0);
      s1_1 = mad(pb_splat(x1), w1, s1_1);
      s2_0 = mad(pb_splat(x2), w0, s2_0);
      s2_1 = mad(pb_splat(x2), w1, s2_1);
      s3_0 = mad(pb_splat(x3), w0, s3_0);
      s3_1 = mad(pb_splat(x3), w1, s3_1);
      s4_0 = mad(pb_splat(x4), w0, s4_0);
      s4_1 = mad(pb_splat(x4), w1, s4_1);
      s5_0 = mad(pb_splat(x5), w0, s5_0);
      s5_1 = mad(pb_splat(x5), w1, s5_1);
      s6_0 = mad(pb_splat(x6), w0, s6_0);
      s6_1 = mad(pb_splat(x6), w1, s6_1);
      s7_0 = mad(pb_splat(x7), w0, s7_0);
      s7_1 = mad(pb_splat(x7), w1, s7_1);
    }
  }
  {
    const int r = row + 0, n = column + 0;
    pb_vec x = s0_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 0, n = column + 16;
    pb_vec x = s0_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 1, n = column + 0;
    pb_vec x = s1_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 1, n = column + 16;
    pb_vec x = s1_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 2, n = column + 0;
    pb_vec x = s2_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 2, n = column + 16;
    pb_vec x = s2_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 3, n = column + 0;
    pb_vec x = s3_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 3, n = column + 16;
    pb_vec x = s3_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 4, n = column + 0;
    pb_vec x = s4_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 4, n = column + 16;
    pb_vec x = s4_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 5, n = column + 0;
    pb_vec x = s5_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 5, n = column + 16;
    pb_vec x = s5_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 6, n = column + 0;
    pb_vec x = s6_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 6, n = column + 16;
    pb_vec x = s6_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 7, n = column + 0;
    pb_vec x = s7_0;
    if (r < 20) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
  {
    const int r = row + 7, n = column + 16;
    pb_vec x = s7_1;
    if (r < 20 && n < 100) {
      x += pb_load_constant((global const float *)weights + 640000 + n);
      x += pb_load(in1 + r * 112 + n);
      pb_store(x, out + r * 112 + n);
    }
  }
}

/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

#define pb_total(x) (x)
#define pb_most(x) (x)
__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_17c3c69e092e1791_rows(global char *arena, global const char *weights, const int place, const int place0, const int place1) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  global const pb_number *in1 = (global const pb_number *)(arena + place1);
  (void)out, (void)weights, (void)in0, (void)in1;
  const int lane = get_local_id(0), r = get_group_id(1);
  global pb_number *row = out + r * 112;
  pb_vec sums = pb_splat(0.0f), squares = pb_splat(0.0f);
  float rest = 0.0f;
  for (int n = lane * 16; n < 96; n += 16) sums += pb_load(row + n);
  if (lane == 0)
    for (int n = 96; n < 100; n++) rest += pb_load1(row + n);
  const float mean = pb_total(pb_sum(sums) + rest) / 100;
  rest = 0.0f;
  for (int n = lane * 16; n < 96; n += 16) { const pb_vec d = pb_load(row + n) - mean; squares += d * d; }
  if (lane == 0)
    for (int n = 96; n < 100; n++) { const float d = pb_load1(row + n) - mean; rest += d * d; }
  const float factor = 1.0f / sqrt(pb_total(pb_sum(squares) + rest) / 100 + 1e-05f);
  for (int n = lane * 16; n < 96; n += 16) pb_store((pb_load(row + n) - mean) * factor * pb_load_constant((global const float *)weights + 640112 + n) + pb_load_constant((global const float *)weights + 640224 + n), row + n);
  if (lane == 0)
    for (int n = 96; n < 100; n++) pb_store1((pb_load1(row + n) - mean) * factor * *((global const float *)weights + 640112 + n) + *((global const float *)weights + 640224 + n), row + n);
}
