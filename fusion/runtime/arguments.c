/* The runner's command line. Whatever is not understood, or would be ignored, ends it. */
#define _GNU_SOURCE
#include "runner.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 1024

void pb_fail(const char *format, ...) {
  char line[LINE_BYTES];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  for (char *c = line; *c; c++)
    if ((unsigned char)*c < ' ') *c = ' ';
  fprintf(stderr, "error: %s\n", line);
  exit(2);
}

void *pb_need(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) pb_fail("not enough memory for %zu numbers", count);
  return memory;
}

static void usage(void) {
  printf("usage: runner PROGRAM [--weights FILE | --fill] [--threads N] [--warmup N] [--runs N] [--rotate BYTES]\n"
         "              [--affinity HEXMASK] [--input NAME=1,2,3 ...]\n"
         "       runner --round FILE [--weights FILE | --fill] [--threads N] [--affinity HEXMASK]\n"
         "       runner --text TEXT [--pair TEXT] --weights FILE --tokenizer FILE [--threads N] [--affinity HEXMASK]\n"
         "       runner --describe\n"
         "Runs a program, prints times in milliseconds and, with --input, its outputs as one JSON object; a number that\n"
         "is not finite is null there, and listed under non_finite. Inputs that are not given: attention_mask is 1,\n"
         "token_type_ids 0; without any --input, the ids are 0, or random with --fill. A round is a file, or standard\n"
         "input for -, of visits: lines WARMUP RUNS ROTATE PROGRAM, for each of which one object is printed.\n"
         "--text prints what the model answers to a text, or to two: labels, entities, or a vector, as one JSON object.\n"
         "--describe prints lines KEY=VALUE of the GPU that would be used.\n"
         "Programs and their inputs:\n");
  for (int i = 0; i < pb_program_count; i++) {
    printf("  %s", pb_programs[i].name);
    for (int j = 0; j < pb_programs[i].input_count; j++)
      printf(" %s[%d]", pb_programs[i].inputs[j].name, pb_programs[i].inputs[j].rows);
    printf("\n");
  }
  if (fflush(stdout) || ferror(stdout)) pb_fail("cannot write the help: %s", strerror(errno));
}

static void describe(void) {
  char text[4096];
  if (pb_describe(text, sizeof text)) pb_fail("%s", text);
  printf("%s", text);
  if (fflush(stdout) || ferror(stdout)) pb_fail("cannot write the description: %s", strerror(errno));
}

long pb_read_number(const char *what, const char *text, long least, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno || value < least || value > most)
    pb_fail("%s takes a whole number from %ld to %ld, not '%s'", what, least, most, text);
  return value;
}

static void set_text(const char *option, const char **place, const char *text) {
  if (*place) pb_fail("%s is given twice", option);
  *place = text;
}

static void set_value(pb_arguments *a, const char *option, const char *text) {
  if (!strcmp(option, "--weights")) set_text(option, &a->weights, text);
  else if (!strcmp(option, "--round")) set_text(option, &a->round, text);
  else if (!strcmp(option, "--text")) set_text(option, &a->text, text);
  else if (!strcmp(option, "--pair")) set_text(option, &a->pair, text);
  else if (!strcmp(option, "--tokenizer")) set_text(option, &a->tokenizer, text);
  else if (!strcmp(option, "--affinity")) set_text(option, &a->affinity, text);
  else if (!strcmp(option, "--threads")) a->threads = (int)pb_read_number(option, text, 1, PB_MAX_THREADS);
  else if (!strcmp(option, "--warmup")) a->warmup = (int)pb_read_number(option, text, 0, INT_MAX);
  else if (!strcmp(option, "--runs")) a->runs = (int)pb_read_number(option, text, 1, INT_MAX);
  else if (!strcmp(option, "--rotate")) a->rotate = pb_read_number(option, text, 0, LONG_MAX);
  else if (!strcmp(option, "--input")) a->inputs[a->input_count++] = text;
  else pb_fail("unknown option %s; --help lists them", option);
}

static int is_timed(const pb_arguments *a) {
  return a->program || a->round || a->input_count || a->warmup >= 0 || a->runs >= 0 || a->rotate >= 0 || a->fill;
}

static void check(const pb_arguments *a) {
  if (!a->text && (a->pair || a->tokenizer)) pb_fail("--pair and --tokenizer go with --text");
  if (a->text) {
    if (is_timed(a)) pb_fail("--text takes --pair, --weights, --tokenizer, --threads and --affinity only");
    return;
  }
  if (!a->program && !a->round) pb_fail("no program is named; --help lists them");
  if (a->round && (a->program || a->input_count || a->warmup >= 0 || a->runs >= 0 || a->rotate >= 0))
    pb_fail("a round says itself which programs run, and how: --round takes --threads, --affinity and weights only");
  if (!a->weights == !a->fill) pb_fail("give either --weights FILE or --fill");
  if (a->rotate > 0 && !a->fill) pb_fail("--rotate is for --fill: weights of a file are there once");
}

pb_arguments pb_read_arguments(int count, char **words) {
  pb_arguments a = {.threads = 1, .warmup = -1, .runs = -1, .rotate = -1, .inputs = pb_need((size_t)count, sizeof *a.inputs)};
  for (int i = 1; i < count; i++) {
    if (!strcmp(words[i], "--help")) {
      usage();
      exit(0);
    }
    if (!strcmp(words[i], "--describe")) {
      describe();
      exit(0);
    }
    if (!strcmp(words[i], "--fill")) a.fill = 1;
    else if (words[i][0] != '-') set_text("the program", &a.program, words[i]);
    else if (i + 1 == count) pb_fail("a value is missing after %s", words[i]);
    else {
      set_value(&a, words[i], words[i + 1]);
      i++;
    }
  }
  check(&a);
  if (a.warmup < 0) a.warmup = 0;
  if (a.runs < 0) a.runs = 1;
  if (a.rotate < 0) a.rotate = 0;
  return a;
}

/* Reads "1,2,3" into the input's numbers: as many as it takes. */
static void read_numbers(const char *text, int64_t *target, const pb_port *port) {
  const char *rest = text;
  for (int count = 0;; count++) {
    char *end;
    errno = 0;
    long long value = strtoll(rest, &end, 10);
    if (end == rest || (*end && *end != ',')) pb_fail("input '%s': not a list of whole numbers: '%s'", port->name, rest);
    if (errno || value < 0 || value >= port->limit)
      pb_fail("input '%s' holds a number outside 0 to %d", port->name, port->limit - 1);
    if (count < port->rows) target[count] = value;
    rest = end + 1;
    if (*end) continue;
    if (count + 1 != port->rows)
      pb_fail("input '%s' takes %d numbers, not %d; pad them, with attention_mask 0 there", port->name, port->rows,
              count + 1);
    return;
  }
}

/* The input that a word NAME=1,2,3 is for; names may hold the sign as well. */
static int input_of(const char *word, const pb_program *p) {
  const char *sign = strrchr(word, '=');
  for (int i = 0; sign && i < p->input_count; i++) {
    size_t length = strlen(p->inputs[i].name);
    if (length == (size_t)(sign - word) && !memcmp(word, p->inputs[i].name, length)) return i;
  }
  pb_fail("the program has no input '%.*s'; --help lists them", sign ? (int)(sign - word) : 64, word);
}

/* What stands for an input that is not given. */
static void set_default(const pb_arguments *a, const pb_port *port, int64_t *target) {
  const int mask = !strcmp(port->name, "attention_mask"), kind = !strcmp(port->name, "token_type_ids");
  if (a->input_count && !a->fill && !mask && !kind) pb_fail("input '%s' is missing", port->name);
  uint32_t state = 1;
  for (int r = 0; r < port->rows; r++)
    target[r] = mask ? 1 : a->fill ? (int64_t)((state = state * 1664525u + 1013904223u) >> 8) % port->limit : 0;
}

int64_t **pb_read_inputs(const pb_arguments *a, const pb_program *p) {
  int64_t **inputs = pb_need((size_t)p->input_count, sizeof *inputs);
  for (int j = 0; j < a->input_count; j++) {
    const int i = input_of(a->inputs[j], p);
    if (inputs[i]) pb_fail("input '%s' is given twice", p->inputs[i].name);
    inputs[i] = pb_need((size_t)p->inputs[i].rows, sizeof **inputs);
    read_numbers(strrchr(a->inputs[j], '=') + 1, inputs[i], &p->inputs[i]);
  }
  for (int i = 0; i < p->input_count; i++) {
    if (inputs[i]) continue;
    inputs[i] = pb_need((size_t)p->inputs[i].rows, sizeof **inputs);
    set_default(a, &p->inputs[i], inputs[i]);
  }
  return inputs;
}
