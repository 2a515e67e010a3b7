/* BERT's normalising: control characters out, white space as spaces, CJK ideographs apart, accents out, lower case.

   All of it is known for each code point alone, but for the order of marks that combine: decomposing puts them in the
   order of their ranks, and a character that decomposing inserts counts as made of the one that is then before it. */
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

enum {
  FIRST_SYLLABLE = 0xAC00,
  FIRST_LEADING = 0x1100,
  FIRST_VOWEL = 0x1161,
  BEFORE_TRAILING = 0x11A7,
  VOWELS = 21,
  TRAILINGS = 28
};

static int in_order(const pb_mark *marks, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (marks[i].rank < marks[i - 1].rank) return 0;
  return 1;
}

/* Marks by rank, those of one rank in their order: one pass for each rank, of which there are few. */
static const pb_mark *sorted_marks(pb_scratch *scratch) {
  const pb_mark *marks = (const pb_mark *)scratch->marks.items;
  size_t count = scratch->marks.count;
  if (!pb_reserve(scratch, &scratch->sorted, count, sizeof *marks)) return NULL;
  pb_mark *sorted = (pb_mark *)scratch->sorted.items;
  size_t next = 0;
  for (int rank = 0; next < count && rank <= UINT8_MAX; rank++)
    for (size_t i = 0; i < count; i++)
      if (marks[i].rank == rank) sorted[next++] = marks[i];
  /* Characters that were there keep the order of their origins, whichever of them now stands where. */
  size_t source = 0;
  for (size_t i = 0; i < count; i++) {
    if (sorted[i].inserted) continue;
    while (marks[source].inserted) source++;
    sorted[i].origin = marks[source++].origin;
  }
  return sorted;
}

/* Appends the marks that wait, in order; `last` is the origin of what they combine with. */
static void flush_marks(pb_scratch *scratch, uint32_t last) {
  const pb_mark *marks = (const pb_mark *)scratch->marks.items;
  size_t count = scratch->marks.count;
  int ordered = in_order(marks, count);
  if (!ordered && !(marks = sorted_marks(scratch))) return;
  for (size_t i = 0; i < count; i++) {
    if (!marks[i].inserted) last = marks[i].origin;
    pb_append(scratch, &scratch->normal, marks[i].bytes, marks[i].count, last);
  }
  scratch->marks.count = 0;
}

/* One piece of what a character becomes; `last` is the origin of the last piece of rank 0. */
static void add_piece(pb_scratch *scratch, pb_mark piece, uint32_t *last) {
  if (piece.rank) {
    pb_mark *mark = (pb_mark *)pb_add(scratch, &scratch->marks, sizeof *mark);
    if (mark) *mark = piece;
    return;
  }
  if (scratch->marks.count) flush_marks(scratch, *last);
  *last = piece.origin;
  pb_append(scratch, &scratch->normal, piece.bytes, piece.count, piece.origin);
}

static void add_pieces(pb_scratch *scratch, const unsigned char *piece, uint32_t origin, uint32_t *last) {
  int count = *piece++;
  for (int i = 0; i < count; i++) {
    add_piece(scratch, (pb_mark){piece + 2, origin, piece[1], piece[0], i > 0}, last);
    piece += 2 + piece[1];
  }
}

/* Jamo stay as they are: the table says so of no syllable whose jamo do not. */
static void add_jamo(pb_scratch *scratch, uint32_t jamo, uint32_t origin, uint32_t *last) {
  unsigned char bytes[3] = {(unsigned char)(0xE0 | jamo >> 12), (unsigned char)(0x80 | (jamo >> 6 & 0x3F)),
                            (unsigned char)(0x80 | (jamo & 0x3F))};
  add_piece(scratch, (pb_mark){bytes, origin, 3, 0, 0}, last);
}

static void add_syllable(pb_scratch *scratch, uint32_t code_point, uint32_t origin, uint32_t *last) {
  uint32_t index = code_point - FIRST_SYLLABLE;
  add_jamo(scratch, FIRST_LEADING + index / (VOWELS * TRAILINGS), origin, last);
  add_jamo(scratch, FIRST_VOWEL + index / TRAILINGS % VOWELS, origin, last);
  if (index % TRAILINGS) add_jamo(scratch, BEFORE_TRAILING + index % TRAILINGS, origin, last);
}

static void add_apart(pb_scratch *scratch, pb_mark character, uint32_t *last) {
  const pb_mark space = {(const unsigned char *)" ", character.origin, 1, 0, 0};
  add_piece(scratch, space, last);
  add_piece(scratch, character, last);
  add_piece(scratch, space, last);
}

void pb_normalise_bert(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  uint32_t last = 0;
  scratch->normal.count = scratch->marks.count = 0;
  if (!pb_reserve_text(scratch, &scratch->normal, part.count)) return;
  for (size_t at = 0; at < part.count;) {
    size_t bytes = pb_character_bytes(part.bytes[at]);
    uint32_t code_point = pb_code_point(part.bytes + at);
    const pb_record *record = pb_record_of(tokenizer, code_point);
    uint32_t origin = part.origin[at];
    pb_mark own = {part.bytes + at, origin, (uint8_t)bytes, record->rank, 0};
    if (record->pieces) add_pieces(scratch, tokenizer->pieces + record->pieces - 1, origin, &last);
    else if (record->flags & PB_HANGUL) add_syllable(scratch, code_point, origin, &last);
    else if (record->flags & PB_APART) add_apart(scratch, own, &last);
    else add_piece(scratch, own, &last);
    at += bytes;
  }
  flush_marks(scratch, last);
}
