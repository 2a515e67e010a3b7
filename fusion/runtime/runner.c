/* The runner: runs or times programs of this executable, and prints one JSON object for each visit to one. */
#define _GNU_SOURCE
#include "clock.h"
#include "runner.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c) {
  const char *digits = "0123456789abcdef", *found = strchr(digits, c | ('A' <= c && c <= 'Z' ? 32 : 0));
  return c && found ? (int)(found - digits) : -1;
}

static void set_affinity(const char *hex) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const char *first = hex[0] == '0' && hex[1] == 'x' ? hex + 2 : hex;
  const int count = (int)strlen(first);
  for (int i = 0; i < count; i++) {
    const int digit = hex_digit(first[count - 1 - i]);
    if (digit < 0 || (digit && 4 * i >= CPU_SETSIZE)) pb_fail("--affinity takes a hexadecimal mask, not '%s'", hex);
    for (int bit = 0; bit < 4; bit++)
      if (digit >> bit & 1) CPU_SET(4 * i + bit, &set);
  }
  if (!CPU_COUNT(&set)) pb_fail("--affinity takes a hexadecimal mask, not '%s'", hex);
  if (sched_setaffinity(0, sizeof set, &set)) pb_fail("cannot run on the processors %s: %s", hex, strerror(errno));
}

static float **make_outputs(const pb_program *p) {
  float **outputs = pb_need((size_t)p->output_count, sizeof *outputs);
  for (int i = 0; i < p->output_count; i++)
    outputs[i] = pb_need((size_t)p->outputs[i].rows * p->outputs[i].columns, sizeof(float));
  return outputs;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of each step the median over the runs. */
static void print_blocks(const pb_program *p, const double *step_ms, int runs) {
  double *column = pb_need((size_t)runs, sizeof *column);
  printf("\"blocks\": [");
  for (int s = 0; s < p->step_count; s++) {
    for (int run = 0; run < runs; run++) column[run] = step_ms[(long)run * p->step_count + s];
    qsort(column, (size_t)runs, sizeof *column, by_value);
    double median = runs % 2 ? column[runs / 2] : (column[runs / 2 - 1] + column[runs / 2]) / 2;
    printf("%s{\"hash\": ", s ? ", " : "");
    pb_print_string(pb_block_hash(p, s));
    printf(", \"median_ms\": %.6f}", median);
  }
  printf("], ");
  free(column);
}

/* Largest resident set of this process so far in bytes, mapped weights included; 0 where it cannot be read. */
static long peak_memory(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  long kilobytes = 0;
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %ld", &kilobytes) == 1) break;
  if (status) fclose(status);
  return kilobytes * 1024;
}

static void print_cpus(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  printf("\"cpus\": [");
  for (int cpu = 0, first = 1; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &set)) {
      printf("%s%d", first ? "" : ", ", cpu);
      first = 0;
    }
  printf("]}\n");
}

static void print_result(const pb_arguments *a, pb_model *model, const pb_visit *visit, double began_ms,
                         const double *run_ms, const double *step_ms, float **outputs) {
  const pb_program *p = visit->program;
  printf("{\"schema\": 1, \"program\": ");
  pb_print_string(p->name);
  printf(", \"threads\": %d, \"began_ms\": %.3f, ", a->threads, began_ms);
  pb_print_times("warmups_ms", run_ms, visit->warmup);
  pb_print_times("samples_ms", run_ms + visit->warmup, visit->runs);
  print_blocks(p, step_ms, visit->runs);
  if (a->input_count) pb_print_outputs(p, outputs);
  if (pb_launches(p)) printf("\"launches\": %d, ", pb_launches(p));
  printf("\"utilisation\": %.4f, \"model_bytes\": %ld, ", pb_utilisation(model), pb_memory_bytes(model));
  printf("\"peak_memory_bytes\": %ld, ", peak_memory());
  print_cpus();
  if (fflush(stdout) || ferror(stdout)) pb_fail("cannot write the result: %s", strerror(errno));
}

static void free_arrays(void **arrays, int count) {
  for (int i = 0; i < count; i++) free(arrays[i]);
  free(arrays);
}

static void make_visit(const pb_arguments *a, pb_model *model, const pb_visit *visit, double began_ms) {
  const pb_program *p = visit->program;
  int64_t **inputs = pb_read_inputs(a, p);
  float **outputs = make_outputs(p);
  double *run_ms = pb_need((size_t)visit->warmup + visit->runs, sizeof *run_ms);
  double *step_ms = pb_need((size_t)visit->runs * p->step_count, sizeof *step_ms);
  if (pb_turn_to(model, visit)) pb_fail("%s: %s", p->name, pb_message(model));
  const int bad = pb_time(model, (const int64_t *const *)inputs, outputs, visit->warmup, visit->runs, run_ms, step_ms);
  if (bad < 0) pb_fail("%s: %s", p->name, pb_message(model));
  if (bad) pb_fail("input '%s' holds a number outside 0 to %d", p->inputs[bad - 1].name, p->inputs[bad - 1].limit - 1);
  print_result(a, model, visit, began_ms, run_ms, step_ms, outputs);
  free_arrays((void **)inputs, p->input_count);
  free_arrays((void **)outputs, p->output_count);
  free(run_ms);
  free(step_ms);
}

/* What the command line asks for as visits: those of a round, or the one of its program. */
static pb_visit *read_visits(const pb_arguments *a, int *count) {
  if (a->round) {
    pb_visit *visits = pb_read_round(a->round, count);
    for (int i = 0; i < *count; i++)
      if (visits[i].rotate_bytes && !a->fill)
        pb_fail("line %d of the round: bytes to rotate over are for --fill: weights of a file are there once", i + 1);
    return visits;
  }
  pb_visit *visit = pb_need(1, sizeof *visit);
  *visit = (pb_visit){pb_find_program(a->program), a->rotate, a->warmup, a->runs};
  if (!visit->program) pb_fail("no program %s", a->program);
  *count = 1;
  return visit;
}

static int tell(const pb_arguments *a) {
  pb_tell_answer(a);
  if (fflush(stdout) || ferror(stdout)) pb_fail("cannot write the answer: %s", strerror(errno));
  free(a->inputs);
  return 0;
}

int main(int count, char **words) {
  const double started = pb_now_ms();
  pb_arguments a = pb_read_arguments(count, words);
  if (a.affinity) set_affinity(a.affinity);
  if (a.text) return tell(&a);
  int visit_count;
  pb_visit *visits = read_visits(&a, &visit_count);
  char error[512];
  const pb_source file = {.kind = PB_FROM_PATH, .path = a.weights};
  const pb_opening opening = {a.weights ? &file : NULL, a.threads, NULL};
  pb_model *model = pb_open_round(visits, visit_count, opening, error, sizeof error);
  if (!model) pb_fail("%s", error);
  for (int i = 0; i < visit_count; i++) make_visit(&a, model, &visits[i], pb_now_ms() - started);
  pb_close(model);
  free(visits);
  free(a.inputs);
  return 0;
}
