/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_65218dab45c90a7d(global char *arena, global const char *weights, const int place, const int place0, const int place1) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  global const pb_number *in1 = (global const pb_number *)(arena + place1);
  (void)out, (void)weights, (void)in0, (void)in1;
  const int n = get_global_id(0) * 16, r = get_global_id(1);
  if (n >= 24 || r >= 20) return;
  global const int *mask = (global const int *)in1;
  global const float *scales = (global const float *)weights + pb_count(mask, 20);
  global const float *shifts = scales + 64;
  pb_vec x = pb_load(in0 + r * 48 + n);
    x = pb_scaled(x, scales[(mask[r] != 0) * 32], shifts[(mask[r] != 0) * 32]);
  pb_store(x, out + r * 48 + n);
}
