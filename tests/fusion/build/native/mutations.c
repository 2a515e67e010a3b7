/* Opens weights that were changed in many ways, from files, descriptors and memory; what opens is run. Whoever opens or
   verifies them must find every change, in one line, and nothing may be read beyond what is there.

   mutations WEIGHTS FILE COUNT prints how many were refused when opened, how many only when verified, and how
   many were whole all the same. */
#include "app.h"
#include <fcntl.h>
#include <unistd.h>

#define HEADER_BYTES 64
#define PAD 8 /* most bytes before weights that lie elsewhere than at their file's or memory's beginning */

static uint32_t state = 1;

static uint32_t draw(uint32_t limit) {
  state = state * 1664525u + 1013904223u;
  return (state >> 8) % limit;
}

/* A copy of exactly so many bytes, after `before` others: a sanitizer sees who reads more. */
typedef struct {
  unsigned char *start;
  size_t before;
  size_t count;
} copy;

static copy copy_of(const unsigned char *original, size_t held, size_t count) {
  const size_t before = draw(PAD);
  copy made = {malloc(before + count + 1), before, count};
  memset(made.start, 0xa5, before + count + 1);
  memcpy(made.start + before, original, held < count ? held : count);
  made.start = realloc(made.start, before + count ? before + count : 1);
  return made;
}

/* Some bytes of a place become others. */
static void scribble(unsigned char *place, size_t limit) {
  const size_t first = draw((uint32_t)limit), most = limit - first < 16 ? limit - first : 16;
  const int same = (int)draw(3);
  for (size_t i = 0, count = 1 + draw((uint32_t)most); i < count; i++)
    place[first + i] = same == 0 ? 0xff : same == 1 ? 0 : (unsigned char)draw(256);
}

static copy mutate(const unsigned char *original, size_t held) {
  const uint32_t kind = draw(5);
  size_t count = held;
  if (kind == 0) count = draw((uint32_t)held);
  if (kind == 1) count = draw(2) ? draw(HEADER_BYTES + 1) : held + 1 + draw(200);
  copy made = copy_of(original, held, count);
  if (kind == 2) scribble(made.start + made.before, HEADER_BYTES);
  if (kind == 3) scribble(made.start + made.before + HEADER_BYTES, held - HEADER_BYTES);
  if (kind == 4) made.start[made.before + draw((uint32_t)held)] ^= (unsigned char)(1u << draw(8));
  return made;
}

static void write_file(const char *path, const copy *made, size_t from) {
  FILE *file = fopen(path, "wb");
  fwrite(made->start + from, 1, made->before + made->count - from, file);
  fclose(file);
}

/* Where the copy lies; sometimes said to be longer or elsewhere. */
static pb_source place(const copy *made, const char *path, size_t held) {
  pb_source source = {0};
  source.kind = PB_FROM_PATH + (int)draw(3);
  source.path = path;
  source.offset = (int64_t)made->before;
  source.length = (int64_t)made->count;
  source.memory = made->start + made->before;
  source.descriptor = -1;
  if (source.kind != PB_FROM_MEMORY) write_file(path, made, source.kind == PB_FROM_PATH ? made->before : 0);
  if (source.kind == PB_FROM_DESCRIPTOR) {
    source.descriptor = open(path, O_RDONLY);
    if (!draw(4)) source.length = (int64_t)held;
    if (!draw(8)) source.offset = draw(2) ? -(int64_t)draw(9) - 1 : INT64_MAX - (int64_t)draw(9);
  }
  return source;
}

static int run(pb_model *model) {
  arrays made = make_arrays(pb_program_of(model));
  const int result = pb_run(model, (const int64_t *const *)made.inputs, made.outputs);
  free_arrays(pb_program_of(model), made);
  return result;
}

/* One line, or an end. */
static void need_line(const char *error) {
  if (!*error || strchr(error, '\n')) exit(complain("an error without one line"));
}

/* Returns 2 where opening refused the weights, 1 where only verifying did, 0 where nobody found anything. */
static int found_by(const pb_source *source) {
  char error[512] = "";
  pb_model *model = pb_open_from("model", source, 1 + (int)draw(2), NULL, error, sizeof error);
  if (!model) {
    need_line(error);
    return 2;
  }
  if (run(model)) exit(complain("a run of what was opened failed"));
  const int damaged = pb_verify("model", source, error, sizeof error);
  if (damaged) need_line(error);
  pb_close(model);
  return damaged;
}

static unsigned char *read_file(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file);
  rewind(file);
  unsigned char *content = malloc(*count);
  if (fread(content, 1, *count, file) != *count) exit(complain("cannot read the weights"));
  fclose(file);
  return content;
}

int main(int count, char **words) {
  size_t held;
  int found[3] = {0};
  if (count != 4) return complain("three words");
  unsigned char *original = read_file(words[1], &held);
  for (int i = 0; i < atoi(words[3]); i++) {
    copy made = mutate(original, held);
    const pb_source source = place(&made, words[2], held);
    const int whole = source.length == (int64_t)held && source.offset == (int64_t)made.before && made.count >= held &&
                      !memcmp(made.start + made.before, original, held);
    const int by = found_by(&source);
    if (whole != !by) return complain(whole ? "what is whole was refused" : "a change was not found");
    found[by]++;
    if (source.descriptor >= 0) close(source.descriptor);
    free(made.start);
  }
  free(original);
  if (dup(0) > 3) return complain("a descriptor is left open");
  printf("%d %d %d\n", found[2], found[1], found[0]);
  return 0;
}
