/* The runner: runs or times one program of this executable and prints one JSON object. */
#define _GNU_SOURCE
#include "pocketbert.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


typedef struct {
  const char *program, *weights, *affinity;
  int threads, warmup, runs, fill;
  long rotate;
  const char *values[PB_MAX_INPUTS]; /* --input NAME=1,2,3 */
  int value_count;
} options;

static void fail(const char *message, const char *detail) {
  fprintf(stderr, "error: %s%s%s\n", message, detail ? " " : "", detail ? detail : "");
  exit(2);
}

static long number(const char *text) {
  char *end;
  long value = strtol(text, &end, 10);
  if (!*text || *end || value < 0) fail("not a whole number:", text);
  return value;
}

static void usage(void) {
  printf("usage: runner PROGRAM [--weights FILE | --fill] [--threads N] [--warmup N] [--runs N] [--rotate BYTES]\n"
         "              [--affinity HEXMASK] [--input NAME=1,2,3 ...]\n"
         "Runs a program, prints times in milliseconds and, with --input, its outputs as one JSON object.\n"
         "Missing inputs: attention_mask is 1 for each given id, all others are 0. Programs:\n");
  for (int i = 0; i < pb_program_count; i++) {
    printf("  %s", pb_programs[i].name);
    for (int j = 0; j < pb_programs[i].input_count; j++)
      printf(" %s[%d]", pb_programs[i].inputs[j].name, pb_programs[i].inputs[j].rows);
    printf("\n");
  }
}

static options parse(int count, char **words) {
  options o = {.threads = 1, .warmup = 0, .runs = 1};
  for (int i = 1; i < count; i++) {
    const char *word = words[i];
    if (!strcmp(word, "--help")) {
      usage();
      exit(0);
    }
    if (!strcmp(word, "--fill")) {
      o.fill = 1;
      continue;
    }
    if (word[0] != '-') {
      o.program = word;
      continue;
    }
    if (++i >= count) fail("a value is missing after", word);
    if (!strcmp(word, "--weights")) o.weights = words[i];
    else if (!strcmp(word, "--affinity")) o.affinity = words[i];
    else if (!strcmp(word, "--threads")) o.threads = (int)number(words[i]);
    else if (!strcmp(word, "--warmup")) o.warmup = (int)number(words[i]);
    else if (!strcmp(word, "--runs")) o.runs = (int)number(words[i]);
    else if (!strcmp(word, "--rotate")) o.rotate = number(words[i]);
    else if (!strcmp(word, "--input") && o.value_count < PB_MAX_INPUTS) o.values[o.value_count++] = words[i];
    else fail("unknown option", word);
  }
  if (!o.program) fail("no program named; --help lists them", NULL);
  if (!o.weights && !o.fill) fail("give --weights FILE or --fill", NULL);
  if (o.runs < 1) fail("--runs must be at least 1", NULL);
  return o;
}

static void set_affinity(const char *hex) {
  char *end;
  unsigned long long mask = strtoull(hex, &end, 16);
  if (*end || !mask) fail("not a hexadecimal mask:", hex);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu = 0; cpu < 64; cpu++)
    if (mask >> cpu & 1) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set)) fail("cannot set the affinity", hex);
}

/* Reads "1,2,3" into target, at most `rows` numbers; returns how many. */
static int read_values(const char *text, int64_t *target, int rows) {
  int count = 0;
  while (*text) {
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || (*end && *end != ',')) fail("not a list of whole numbers:", text);
    if (count == rows) fail("too many numbers for the input", NULL);
    target[count++] = value;
    text = *end ? end + 1 : end;
  }
  return count;
}

static int64_t **read_inputs(const options *o, const pb_program *p) {
  int64_t **inputs = calloc(PB_MAX_INPUTS, sizeof *inputs);
  int ids = 0;
  char used[PB_MAX_INPUTS] = {0};
  int given[PB_MAX_INPUTS] = {0};
  for (int i = 0; i < p->input_count; i++) {
    const pb_port *port = &p->inputs[i];
    inputs[i] = calloc(port->rows, sizeof(int64_t));
    for (int j = 0; j < o->value_count; j++) {
      size_t length = strlen(port->name);
      if (strncmp(o->values[j], port->name, length) || o->values[j][length] != '=') continue;
      int n = read_values(o->values[j] + length + 1, inputs[i], port->rows);
      used[j] = 1;
      given[i] = 1;
      if (!strcmp(port->name, "input_ids")) ids = n;
    }
  }
  for (int j = 0; j < o->value_count; j++)
    if (!used[j]) fail("the program has no such input:", o->values[j]);
  for (int i = 0; i < p->input_count; i++) {
    const pb_port *port = &p->inputs[i];
    int mask = !strcmp(port->name, "attention_mask");
    uint32_t state = 1;
    for (int r = 0; r < port->rows && !given[i]; r++) {
      if (o->fill) inputs[i][r] = mask ? 1 : (int64_t)((state = state * 1664525u + 1013904223u) >> 8) % port->limit;
      else inputs[i][r] = mask && r < ids;
    }
  }
  return inputs;
}

static float **make_outputs(const pb_program *p) {
  float **outputs = calloc(p->output_count + 1, sizeof *outputs);
  for (int i = 0; i < p->output_count; i++)
    outputs[i] = calloc((size_t)p->outputs[i].rows * p->outputs[i].columns, sizeof(float));
  return outputs;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_list(const char *name, const double *values, int count) {
  printf("\"%s\": [", name);
  for (int i = 0; i < count; i++) printf("%s%.6f", i ? ", " : "", values[i]);
  printf("], ");
}

/* Of each step the median over the runs, and the lower decile: how long it takes while nobody else disturbs it. */
static void print_blocks(const pb_program *p, const double *step_ms, int runs) {
  double *column = calloc(runs, sizeof *column);
  printf("\"blocks\": [");
  for (int s = 0; s < p->step_count; s++) {
    for (int run = 0; run < runs; run++) column[run] = step_ms[(long)run * p->step_count + s];
    qsort(column, runs, sizeof *column, by_value);
    double median = runs % 2 ? column[runs / 2] : (column[runs / 2 - 1] + column[runs / 2]) / 2;
    printf("%s{\"hash\": \"%s\", \"median_ms\": %.6f, \"decile_ms\": %.6f}", s ? ", " : "", p->steps[s].hash, median,
           column[runs / 10]);
  }
  printf("], ");
  free(column);
}

static void print_outputs(const pb_program *p, float **outputs) {
  printf("\"outputs\": {");
  for (int i = 0; i < p->output_count; i++) {
    printf("%s\"%s\": [", i ? ", " : "", p->outputs[i].name);
    long count = (long)p->outputs[i].rows * p->outputs[i].columns;
    for (long j = 0; j < count; j++) printf("%s%.9g", j ? ", " : "", outputs[i][j]);
    printf("]");
  }
  printf("}, ");
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

int main(int count, char **words) {
  options o = parse(count, words);
  if (o.affinity) set_affinity(o.affinity);
  char error[512];
  pb_model *model = pb_open(o.program, o.fill ? NULL : o.weights, o.threads, o.rotate, error, sizeof error);
  if (!model) fail(error, NULL);
  const pb_program *p = pb_program_of(model);
  int64_t **inputs = read_inputs(&o, p);
  float **outputs = make_outputs(p);
  double *run_ms = calloc(o.warmup + o.runs, sizeof *run_ms);
  double *step_ms = calloc((size_t)o.runs * (p->step_count + 1), sizeof *step_ms);
  if (!run_ms || !step_ms) fail("not enough memory", NULL);
  int bad = pb_time(model, (const int64_t *const *)inputs, outputs, o.warmup, o.runs, run_ms, step_ms);
  if (bad) fail("a number is out of range in the input", p->inputs[bad - 1].name);
  printf("{\"schema\": 1, \"program\": \"%s\", \"threads\": %d, ", p->name, o.threads);
  print_list("warmups_ms", run_ms, o.warmup);
  print_list("samples_ms", run_ms + o.warmup, o.runs);
  print_blocks(p, step_ms, o.runs);
  if (o.value_count) print_outputs(p, outputs);
  printf("\"utilisation\": %.4f, \"model_bytes\": %ld, ", pb_utilisation(model), pb_memory_bytes(model));
  printf("\"peak_memory_bytes\": %ld, ", peak_memory());
  print_cpus();
  for (int i = 0; i < p->input_count; i++) free(inputs[i]);
  for (int i = 0; i < p->output_count; i++) free(outputs[i]);
  free(inputs);
  free(outputs);
  free(run_ms);
  free(step_ms);
  pb_close(model);
  return 0;
}
