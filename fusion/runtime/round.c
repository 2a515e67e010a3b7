/* The file of a round: a line for each visit, strictly read before anything runs. */
#define _GNU_SOURCE
#include "runner.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts the line's next word off, which ends at a blank. */
static char *cut_word(char **rest, int line) {
  char *word = *rest, *end = strchr(word, ' ');
  if (!end) pb_fail("line %d of the round is not WARMUP RUNS ROTATE PROGRAM", line);
  *end = 0;
  *rest = end + 1;
  return word;
}

static long next_number(char **rest, int line, const char *name, long least, long most) {
  char what[64];
  snprintf(what, sizeof what, "line %d of the round: %s", line, name);
  return pb_read_number(what, cut_word(rest, line), least, most);
}

static pb_visit read_visit(char *text, int line) {
  pb_visit visit;
  visit.warmup = (int)next_number(&text, line, "warmup", 0, INT_MAX);
  visit.runs = (int)next_number(&text, line, "runs", 1, INT_MAX);
  visit.rotate_bytes = next_number(&text, line, "rotate", 0, LONG_MAX);
  visit.program = pb_find_program(text);
  if (!visit.program) pb_fail("line %d of the round: no program %s", line, text);
  return visit;
}

/* Cuts the line break off; a line that has none, or a null character, is not whole. */
static void check_line(char *text, long length, int line) {
  if (text[length - 1] != '\n') pb_fail("line %d of the round has no end", line);
  text[length - 1] = 0;
  if ((long)strlen(text) != length - 1) pb_fail("line %d of the round holds a null character", line);
}

static pb_visit *add(pb_visit *visits, int count, pb_visit visit) {
  if (!(count & (count - 1))) visits = realloc(visits, sizeof *visits * (count ? 2 * (size_t)count : 1));
  if (!visits || count == INT_MAX / 2) pb_fail("not enough memory for %d visits", count + 1);
  visits[count] = visit;
  return visits;
}

pb_visit *pb_read_round(const char *path, int *count) {
  FILE *file = strcmp(path, "-") ? fopen(path, "re") : stdin;
  if (!file) pb_fail("cannot open the round %s: %s", path, strerror(errno));
  pb_visit *visits = NULL;
  char *text = NULL;
  size_t size = 0;
  *count = 0;
  for (long length; errno = 0, (length = getline(&text, &size, file)) > 0; (*count)++) {
    check_line(text, length, *count + 1);
    visits = add(visits, *count, read_visit(text, *count + 1));
  }
  if (errno || ferror(file)) pb_fail("cannot read the round %s: %s", path, strerror(errno));
  if (!*count) pb_fail("the round %s holds no visit", path);
  free(text);
  if (file != stdin) fclose(file);
  return visits;
}
