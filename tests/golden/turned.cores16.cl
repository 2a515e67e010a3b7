/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_dbbbf03d462ac0c7(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int n = get_global_id(0), r = get_global_id(1);
  if (n >= 20 || r >= 24) return;
  int rest = r * 20 + n, at = 0;
  at += rest % 20 * 24;
  rest /= 20;
  at += rest % 24 * 1;
  rest /= 24;
  const int from = at / 24 * 48 + at % 24;
  pb_store1(pb_load1(in0 + from), out + r * 48 + n);
}
