/* A target for libFuzzer, and for random_inputs.c where there is none: tables of tokenizers, as they are or with some
   bytes changed, and any bytes as texts. POCKETBERT_TABLES names the tables, with colons between.

   An input is a byte that says which table, one of flags, two of how many positions, one of where the pair begins;
   with CHANGES, one of how many bytes of the table change, and for each its place in four and the byte; then texts. */
#include "pocketbert_text.h"
#include "text/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TABLES = 16, MOST_CHANGES = 15, MOST_POSITIONS = 1023, ERROR_BYTES = 200 };
enum { CHANGES = 1, PAIR = 2, NO_CUT = 4, ONLY_IDS = 8 };

typedef struct {
  unsigned char *bytes;
  size_t size;
  pb_tokenizer *tokenizer;
} table_file;

static table_file tables[MOST_TABLES];
static size_t table_count;

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "line %d: not %s\n", __LINE__, #condition);                                                      \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

static table_file read_table(const char *path) {
  table_file table = {NULL, 0, NULL};
  char error[ERROR_BYTES];
  FILE *file = fopen(path, "rb");
  CHECK(file && !fseek(file, 0, SEEK_END));
  table.size = (size_t)ftell(file);
  table.bytes = (unsigned char *)malloc(table.size);
  CHECK(table.bytes && !fseek(file, 0, SEEK_SET) && fread(table.bytes, 1, table.size, file) == table.size);
  fclose(file);
  table.tokenizer = pb_tokenizer_open(table.bytes, table.size, error, sizeof error);
  CHECK(table.tokenizer);
  return table;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  const char *named = getenv("POCKETBERT_TABLES");
  (void)argc, (void)argv;
  CHECK(named);
  char *paths = strdup(named);
  for (char *path = strtok(paths, ":"); path && table_count < MOST_TABLES; path = strtok(NULL, ":"))
    tables[table_count++] = read_table(path);
  free(paths);
  CHECK(table_count);
  return 0;
}

/* How many bytes at the beginning are UTF-8, decoded and encoded again, in another way than the tokenizer checks. */
static size_t valid_bytes(const unsigned char *text, size_t size) {
  size_t at = 0;
  while (at < size) {
    unsigned first = text[at];
    size_t count = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
    if (!count || count > size - at) return at;
    unsigned long code = count == 1 ? first : first & (0x7Fu >> count);
    for (size_t i = 1; i < count; i++) {
      if (text[at + i] >> 6 != 2) return at;
      code = code << 6 | (text[at + i] & 63u);
    }
    size_t shortest = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (shortest != count || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return at;
    at += count;
  }
  return at;
}

static int code_points(const unsigned char *text, size_t size) {
  int found = 0;
  for (size_t i = 0; i < size; i++) found += text[i] >> 6 != 2;
  return found;
}

/* A copy of exactly so many bytes, so that what reads beyond them is found. */
static unsigned char *copied(const unsigned char *bytes, size_t size) {
  unsigned char *copy = (unsigned char *)malloc(size ? size : 1);
  CHECK(copy);
  if (size) memcpy(copy, bytes, size);
  return copy;
}

static void check_spans(const pb_span *spans, int length, const int *points) {
  for (int i = 0; i < length; i++) {
    CHECK(spans[i].sequence >= -1 && spans[i].sequence <= 1 && spans[i].start <= spans[i].end && spans[i].start >= 0);
    CHECK(spans[i].end <= (spans[i].sequence < 0 ? 0 : points[spans[i].sequence]));
  }
}

/* `is_changed` tells that the table is no tokenizer's: what it says of a text may then be anything. */
static void tokenize(const pb_tokenizer *tokenizer, int flags, int length, const unsigned char *texts, size_t size,
                     size_t split, int is_changed) {
  size_t count = flags & PAIR ? split : size, pair_count = size - count;
  unsigned char *text = copied(texts, count), *pair = copied(texts + count, pair_count);
  size_t room = length ? (size_t)length : 1;
  int64_t *ids = (int64_t *)malloc(room * sizeof *ids), *types = (int64_t *)malloc(room * sizeof *types);
  int64_t *mask = (int64_t *)malloc(room * sizeof *mask);
  pb_span *spans = (pb_span *)malloc(room * sizeof *spans);
  CHECK(ids && types && mask && spans);
  char error[ERROR_BYTES] = "";
  int removed = -1, all = !(flags & ONLY_IDS);
  int used = pb_tokenize(tokenizer, (const char *)text, count, flags & PAIR ? (const char *)pair : NULL, pair_count, ids,
                         all ? types : NULL, all ? mask : NULL, all ? spans : NULL, length,
                         flags & NO_CUT ? NULL : &removed, error, sizeof error);
  CHECK(used >= 0 || error[0]);
  CHECK(used <= length && (used < 0 || flags & NO_CUT || removed >= 0));
  int valid = valid_bytes(text, count) == count && valid_bytes(pair, pair_count) == pair_count;
  CHECK(valid || used < 0);
  if (!is_changed && used >= 0 && all) {
    int64_t real = 0;
    for (int i = 0; i < length; i++) real += mask[i];
    CHECK(real == used);
    check_spans(spans, length, (int[]){code_points(text, count), code_points(pair, pair_count)});
  }
  free(text), free(pair), free(ids), free(types), free(mask), free(spans);
}

/* As table.py sums, so that what follows the sum is what has to find the change. */
static void sign(unsigned char *bytes, size_t size) {
  pb_table_header *header = (pb_table_header *)(void *)bytes;
  const uint32_t *words = (const uint32_t *)(const void *)header->sections;
  uint64_t sum = header->kind, sums = header->version;
  for (size_t i = 0; i < (size - offsetof(pb_table_header, sections)) / 4; i++) sums += sum += words[i];
  header->checksum[0] = sum;
  header->checksum[1] = sums;
}

/* Opens a table of which some bytes are changed and its sum is right; NULL where that is refused, with a reason. */
static pb_tokenizer *open_changed(table_file *table, const unsigned char *changes, int count) {
  char error[ERROR_BYTES] = "";
  for (int i = 0; i < count; i++) {
    uint32_t place;
    memcpy(&place, changes + 5 * i, sizeof place);
    /* Settings and the places of sections are few among many bytes: a half of all changes is there. */
    size_t range = place >> 31 ? table->size : sizeof(pb_table_header) + sizeof(pb_settings);
    table->bytes[(place & 0x7FFFFFFF) % range] = changes[5 * i + 4];
  }
  sign(table->bytes, table->size);
  pb_tokenizer *tokenizer = pb_tokenizer_open(table->bytes, table->size, error, sizeof error);
  CHECK(tokenizer || error[0]);
  return tokenizer;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size < 5) return 0;
  table_file *table = &tables[data[0] % table_count];
  int flags = data[1], length = (data[2] | data[3] << 8) & MOST_POSITIONS, changes = 0;
  size_t at = 5;
  if (flags & CHANGES) {
    if (size < 6) return 0;
    changes = data[5] & MOST_CHANGES;
    at = 6 + 5 * (size_t)changes;
    if (size < at) return 0;
  }
  size_t split = (size - at) * data[4] / 255;
  if (!changes) {
    tokenize(table->tokenizer, flags, length, data + at, size - at, split, 0);
    return 0;
  }
  table_file changed = {copied(table->bytes, table->size), table->size, NULL};
  pb_tokenizer *tokenizer = open_changed(&changed, data + 6, changes);
  if (tokenizer) tokenize(tokenizer, flags, length, data + at, size - at, split, 1);
  pb_tokenizer_close(tokenizer);
  free(changed.bytes);
  return 0;
}
