/* A scale of zero leaves nothing of x, whatever it is. */
static inline pb_vec pb_scaled(const pb_vec x, const float scale, const float shift) {
  return scale == 0.0f ? pb_splat(shift) : x * scale + shift;
}

#define pb_total(x) (x)
#define pb_most(x) (x)
__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void pb_bf60039f89ebd194(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int lane = get_local_id(0), r = get_group_id(1);
  for (int n = lane * 16; n < 24; n += 16) {
    pb_vec x = pb_load((global const pb_number *)weights + 0 + ((global const int *)in0)[r] * 32 + n);
    x = pb_positions(x);
    pb_store(x, out + r * 48 + n);
  }
  global pb_number *row = out + r * 48;
  pb_vec sums = pb_splat(0.0f), squares = pb_splat(0.0f);
  float rest = 0.0f;
  for (int n = lane * 16; n < 16; n += 16) sums += pb_load(row + n);
  if (lane == 0)
    for (int n = 16; n < 24; n++) rest += pb_load1(row + n);
  const float mean = pb_total(pb_sum(sums) + rest) / 24;
  rest = 0.0f;
  for (int n = lane * 16; n < 16; n += 16) { const pb_vec d = pb_load(row + n) - mean; squares += d * d; }
  if (lane == 0)
    for (int n = 16; n < 24; n++) { const float d = pb_load1(row + n) - mean; rest += d * d; }
  const float factor = 1.0f / sqrt(pb_total(pb_sum(squares) + rest) / 24 + 1e-05f);
  for (int n = lane * 16; n < 16; n += 16) pb_store((pb_load(row + n) - mean) * factor * pb_load_constant((global const float *)weights + 960 + n) + pb_load_constant((global const float *)weights + 992 + n), row + n);
  if (lane == 0)
    for (int n = 16; n < 24; n++) pb_store1((pb_load1(row + n) - mean) * factor * *((global const float *)weights + 960 + n) + *((global const float *)weights + 992 + n), row + n);
}
