/* What one call of pb_tokenize needs while it lasts: arrays that grow. No call shares them with another. */
#ifndef PB_SCRATCH_H
#define PB_SCRATCH_H
#include <stddef.h>
#include <stdint.h>

/* A text, and for each of its bytes the code point of the caller's text that it was made of. */
typedef struct {
  unsigned char *bytes;
  uint32_t *origin;
  size_t count;
  size_t room;
} pb_text;

/* A part of a text, in it or in a pb_text. */
typedef struct {
  const unsigned char *bytes;
  const uint32_t *origin;
  size_t count;
} pb_part;

/* A token: code points `start` to before `end` of the caller's text. `leading` and `trailing` characters of it are
   white space, which offsets may leave out. */
typedef struct {
  uint32_t id;
  uint32_t start;
  uint32_t end;
  uint32_t leading;
  uint32_t trailing;
} pb_token;

/* A part of a decomposed character that combines with those before it, and has to be put in order. */
typedef struct {
  const unsigned char *bytes;
  uint32_t origin;
  uint8_t count;
  uint8_t rank;
  uint8_t inserted;
} pb_mark;

/* A symbol of a word in byte-pair merging: bytes [start, end), and its neighbours, -1 where there is none. */
typedef struct {
  uint32_t id;
  uint32_t start;
  uint32_t end;
  int32_t previous;
  int32_t next;
} pb_symbol;

/* A merge that waits: of the symbol at `place` with the one after it. */
typedef struct {
  uint32_t rank;
  uint32_t place;
  uint32_t result;
} pb_waiting;

/* The best way to the end of a piece that ends here. `start` is PB_UNREACHED where none was found. */
typedef struct {
  double score;
  uint32_t start;
  uint32_t id;
} pb_best;

#define PB_UNREACHED UINT32_MAX

/* An array of things of one size. */
typedef struct {
  void *items;
  size_t count;
  size_t room;
} pb_array;

typedef struct {
  pb_text normal;    /* a part of the text, normalised */
  pb_text other;     /* the same after another step */
  pb_text spelled;   /* a part as its model reads it: with what is put before words */
  pb_array tokens;   /* pb_token, of the text that is being read */
  pb_array marks;    /* pb_mark */
  pb_array sorted;   /* pb_mark */
  pb_array symbols;  /* pb_symbol */
  pb_array waiting;  /* pb_waiting, a heap */
  pb_array best;     /* pb_best */
  pb_array changes;  /* int32_t, one for each character */
  pb_array states;   /* uint32_t: of hashes of a word's beginnings */
  int no_memory;     /* whether any array could not grow: what was made is then worth nothing */
} pb_scratch;

/* Room for `count` items of `size` bytes in all. Returns whether it is there. */
int pb_reserve(pb_scratch *scratch, pb_array *array, size_t count, size_t size);

/* The place of one more item, or NULL. */
void *pb_add(pb_scratch *scratch, pb_array *array, size_t size);

/* Appends bytes that are all made of one code point. */
void pb_append(pb_scratch *scratch, pb_text *text, const unsigned char *bytes, size_t count, uint32_t origin);

/* Appends a part as it is. */
void pb_append_part(pb_scratch *scratch, pb_text *text, pb_part part);

/* Room for `count` more bytes. Returns whether it is there. */
int pb_reserve_text(pb_scratch *scratch, pb_text *text, size_t count);

void pb_free_scratch(pb_scratch *scratch);

static inline pb_part pb_part_of(pb_part whole, size_t from, size_t to) {
  return (pb_part){whole.bytes + from, whole.origin + from, to - from};
}

static inline pb_part pb_whole(const pb_text *text) { return (pb_part){text->bytes, text->origin, text->count}; }

/* A token of bytes [from, to) of a part, which are not none. */
static inline pb_token *pb_add_token(pb_scratch *scratch, uint32_t id, pb_part part, size_t from, size_t to) {
  pb_token *token = (pb_token *)pb_add(scratch, &scratch->tokens, sizeof *token);
  if (token) *token = (pb_token){id, part.origin[from], part.origin[to - 1] + 1, 0, 0};
  return token;
}
#endif
