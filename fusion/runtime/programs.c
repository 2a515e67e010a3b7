/* The programs of an executable or library, by name. */
#include "visit.h"
#include <stdio.h>
#include <string.h>

const pb_program *pb_find_program(const char *name) {
  for (int i = 0; name && i < pb_program_count; i++)
    if (!strcmp(pb_programs[i].name, name)) return &pb_programs[i];
  return NULL;
}

int pb_are_one_program(const pb_visit *visits, int count, char *error, size_t size) {
  for (int i = 1; i < count; i++)
    if (strcmp(visits[i].program->id, visits[0].program->id)) {
      snprintf(error, size, "the programs %s and %s have different weights", visits[0].program->name,
               visits[i].program->name);
      return 0;
    }
  return 1;
}

const pb_program *pb_find_named(const char *name, char *error, size_t size) {
  const pb_program *found = pb_find_program(name);
  if (!found) snprintf(error, size, "no program %s", name ? name : "without a name");
  return found;
}

int pb_api_version(void) { return PB_API_VERSION; }

pb_model *pb_open(const char *name, const char *weights, int threads, long rotate_bytes, char *error, size_t size) {
  const pb_source file = {.kind = PB_FROM_PATH, .path = weights};
  const pb_visit visit = {pb_find_named(name, error, size), rotate_bytes, 0, 0};
  const pb_opening opening = {weights ? &file : NULL, threads, NULL};
  return visit.program ? pb_open_round(&visit, 1, opening, error, size) : NULL;
}

pb_model *pb_open_from(const char *name, const pb_source *weights, int threads, const char *kernels, char *error,
                       size_t size) {
  const pb_source none = {0}; /* which no program takes: only pb_open makes weights up */
  const pb_visit visit = {pb_find_named(name, error, size), 0, 0, 0};
  const pb_opening opening = {weights ? weights : &none, threads, kernels};
  return visit.program ? pb_open_round(&visit, 1, opening, error, size) : NULL;
}
