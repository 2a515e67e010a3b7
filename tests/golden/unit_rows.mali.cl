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
kernel void pb_03ac1746015492cc(global char *arena, global const char *weights, const int place, const int place0) {
  global pb_number *out = (global pb_number *)(arena + place);
  global const pb_number *in0 = (global const pb_number *)(arena + place0);
  (void)out, (void)weights, (void)in0;
  const int lane = get_local_id(0), r = get_group_id(1);
  local float shared[32];
  for (int n = lane * 4; n < 24; n += 128) {
    pb_vec x = pb_load(in0 + r * 48 + n);
    pb_store(x, out + r * 48 + n);
  }
  global pb_number *row = out + r * 48;
  pb_vec squares = pb_splat(0.0f);
  float rest = 0.0f;
  for (int n = lane * 4; n < 24; n += 128) { const pb_vec x = pb_load(row + n); squares += x * x; }
  const float norm = fmax(sqrt(pb_total(pb_sum(squares) + rest) + 0.0f), 1e-12f) + 0.0f;
  for (int n = lane * 4; n < 24; n += 128) pb_store(pb_load(row + n) / norm, row + n);
}
