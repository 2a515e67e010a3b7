/* Arrays that grow: to twice their size, so that adding one thing after another takes time in proportion. */
#include "text/scratch.h"

#include <stdlib.h>
#include <string.h>

static size_t grown(size_t room, size_t wanted) {
  size_t doubled = room < 64 ? 64 : room * 2;
  return doubled < wanted ? wanted : doubled;
}

int pb_reserve(pb_scratch *scratch, pb_array *array, size_t count, size_t size) {
  if (count <= array->room) return 1;
  size_t room = grown(array->room, count);
  void *items = realloc(array->items, room * size);
  if (!items) {
    scratch->no_memory = 1;
    return 0;
  }
  array->items = items;
  array->room = room;
  return 1;
}

void *pb_add(pb_scratch *scratch, pb_array *array, size_t size) {
  if (!pb_reserve(scratch, array, array->count + 1, size)) return NULL;
  return (char *)array->items + size * array->count++;
}

int pb_reserve_text(pb_scratch *scratch, pb_text *text, size_t count) {
  if (text->count + count <= text->room) return 1;
  size_t room = grown(text->room, text->count + count);
  unsigned char *bytes = (unsigned char *)realloc(text->bytes, room);
  if (bytes) text->bytes = bytes;
  uint32_t *origin = (uint32_t *)realloc(text->origin, room * sizeof *origin);
  if (origin) text->origin = origin;
  if (bytes && origin) text->room = room;
  else scratch->no_memory = 1;
  return bytes && origin;
}

void pb_append(pb_scratch *scratch, pb_text *text, const unsigned char *bytes, size_t count, uint32_t origin) {
  if (!pb_reserve_text(scratch, text, count)) return;
  for (size_t i = 0; i < count; i++) {
    text->bytes[text->count + i] = bytes[i];
    text->origin[text->count + i] = origin;
  }
  text->count += count;
}

void pb_append_part(pb_scratch *scratch, pb_text *text, pb_part part) {
  if (!part.count || !pb_reserve_text(scratch, text, part.count)) return;
  memcpy(text->bytes + text->count, part.bytes, part.count);
  memcpy(text->origin + text->count, part.origin, part.count * sizeof *part.origin);
  text->count += part.count;
}

void pb_free_scratch(pb_scratch *scratch) {
  pb_text *texts[] = {&scratch->normal, &scratch->other, &scratch->spelled};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    free(texts[i]->bytes);
    free(texts[i]->origin);
  }
  pb_array *arrays[] = {&scratch->tokens,  &scratch->marks, &scratch->sorted,  &scratch->symbols,
                        &scratch->waiting, &scratch->best,  &scratch->changes, &scratch->states};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]->items);
}
