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

pb_model *pb_open(const char *name, const char *weights, int threads, long rotate_bytes, char *error, size_t size) {
  const pb_visit visit = {pb_find_program(name), rotate_bytes, 0, 0};
  if (!visit.program) {
    snprintf(error, size, "no program %s", name ? name : "without a name");
    return NULL;
  }
  return pb_open_round(&visit, 1, weights, threads, error, size);
}
