/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

#define pb_total(x) (x)
#define pb_most(x) (x)
__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_03ac1746015492cc(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int lane = get_local_id(0), r = get_group_id(1);
  for (int n = lane * 16; n < 24; n += 16) {
    pb_vec x = pb_load(in0 + r * 48 + n);
    pb_store(x, out + r * 48 + n);
  }
  global pb_number *row = out + r * 48;
  pb_vec squares = pb_splat(0.0f);
  float rest = 0.0f;
  for (int n = lane * 16; n < 16; n += 16) { const pb_vec x = pb_load(row + n); squares += x * x; }
  if (lane == 0)
    for (int n = 16; n < 24; n++) { const float x = pb_load1(row + n); rest += x * x; }
  const float norm = fmax(sqrt(pb_total(pb_sum(squares) + rest) + 0.0f), 1e-12f) + 0.0f;
  for (int n = lane * 16; n < 16; n += 16) pb_store(pb_load(row + n) / norm, row + n);
  if (lane == 0)
    for (int n = 16; n < 24; n++) pb_store1(pb_load1(row + n) / norm, row + n);
}
