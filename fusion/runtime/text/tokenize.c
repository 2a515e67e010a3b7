/* One call: texts to tokens, cut where they do not fit, put into the template, padded. */
#include "text/table.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t LONGEST_TEXT = (size_t)1 << 30; /* bytes; origins and sums of them fit 32 bits */

/* The tokens of one text, or of none. */
typedef struct {
  pb_token *tokens;
  int count;
  int first; /* that is kept, */
  int kept;  /* and how many */
} pb_sequence;

static uint32_t spaces(const pb_tokenizer *tokenizer, pb_part part, int from_left) {
  uint32_t found = 0;
  for (size_t at = 0; at < part.count; at += pb_character_bytes(part.bytes[at])) {
    uint32_t code_point = pb_code_point(part.bytes + at);
    /* U+0120 is how byte-level vocabularies write a space, and counts as one in any token. */
    if (code_point == 0x120 || pb_record_of(tokenizer, code_point)->flags & PB_SPACE) found++;
    else if (from_left) return found;
    else found = 0;
  }
  return found;
}

static void add_added(const pb_tokenizer *tokenizer, pb_scratch *scratch, const pb_added *added, pb_part part,
                      size_t start, size_t stop) {
  pb_token *token = pb_add_token(scratch, added->id, part, start, stop);
  if (!token || !tokenizer->settings.trims) return;
  token->leading = spaces(tokenizer, pb_part_of(part, start, stop), 1);
  token->trailing = spaces(tokenizer, pb_part_of(part, start, stop), 0);
}

static void add_model_tokens(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  if (!part.count || scratch->no_memory) return;
  if (tokenizer->kind == PB_WORD_PIECE) pb_word_pieces(tokenizer, scratch, part);
  else if (tokenizer->kind == PB_BYTE_LEVEL) pb_byte_pairs(tokenizer, scratch, part);
  else pb_unigrams(tokenizer, scratch, part);
}

/* Tokens of a part without added tokens that are matched as they are: normalised, then searched for the others. */
static void add_part(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  size_t at = 0, from = 0, start, stop;
  const pb_added *added;
  if (tokenizer->kind == PB_WORD_PIECE) pb_normalise_bert(tokenizer, scratch, part);
  else if (tokenizer->kind == PB_UNIGRAM) pb_normalise_steps(tokenizer, scratch, part);
  if (tokenizer->kind != PB_BYTE_LEVEL) part = pb_whole(&scratch->normal);
  while (!scratch->no_memory && (added = pb_next_added(tokenizer, 1, part, &at, from, &start, &stop))) {
    if (from < start) add_model_tokens(tokenizer, scratch, pb_part_of(part, from, start));
    add_added(tokenizer, scratch, added, part, start, stop);
    from = stop;
  }
  if (from < part.count) add_model_tokens(tokenizer, scratch, pb_part_of(part, from, part.count));
}

/* The tokens of a whole text, which is valid UTF-8. */
static void add_text(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part text) {
  size_t at = 0, from = 0, start, stop;
  const pb_added *added;
  while (!scratch->no_memory && (added = pb_next_added(tokenizer, 0, text, &at, from, &start, &stop))) {
    if (from < start) add_part(tokenizer, scratch, pb_part_of(text, from, start));
    add_added(tokenizer, scratch, added, text, start, stop);
    from = stop;
  }
  if (from < text.count) add_part(tokenizer, scratch, pb_part_of(text, from, text.count));
}

static int refuse(char *error, size_t size, const char *problem) {
  if (size) snprintf(error, size, "%s", problem);
  return -1;
}

static int check_text(const char *name, const char *text, size_t bytes, char *error, size_t size) {
  if (!text && bytes) return refuse(error, size, "text is NULL");
  if (bytes > LONGEST_TEXT) {
    if (size) snprintf(error, size, "%s is longer than %zu bytes", name, LONGEST_TEXT);
    return -1;
  }
  size_t valid = pb_valid_prefix((const unsigned char *)text, bytes);
  if (valid == bytes) return 0;
  if (size) snprintf(error, size, "%s is not UTF-8: what begins at byte %zu is no character", name, valid);
  return -1;
}

/* Reads a text into `sequence`, whose tokens the caller frees. Returns whether there was memory. */
static int read_sequence(const pb_tokenizer *tokenizer, const char *text, size_t bytes, pb_sequence *sequence) {
  pb_scratch scratch;
  memset(&scratch, 0, sizeof scratch);
  uint32_t *origin = (uint32_t *)malloc((bytes + 1) * sizeof *origin);
  if (origin) {
    uint32_t code_point = 0;
    for (size_t at = 0; at < bytes; at++) {
      code_point += at > 0 && pb_begins((unsigned char)text[at]);
      origin[at] = code_point;
    }
    add_text(tokenizer, &scratch, (pb_part){(const unsigned char *)text, origin, bytes});
  }
  int enough = origin && !scratch.no_memory && scratch.tokens.count <= INT32_MAX / 2;
  free(origin);
  sequence->tokens = (pb_token *)scratch.tokens.items;
  sequence->count = sequence->kept = enough ? (int)scratch.tokens.count : 0;
  sequence->first = 0;
  scratch.tokens.items = NULL;
  pb_free_scratch(&scratch);
  return enough;
}

/* How many tokens of each text stay where `room` are left for both: the longer is cut, or both to halves. */
static void share_room(int room, int *one, int *other) {
  if (*one + *other <= room) return;
  int shorter = *one < *other ? *one : *other, first_is_longer = *one > *other;
  int longer = shorter > room ? shorter : room - shorter > shorter ? room - shorter : shorter;
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = shorter + room % 2;
  }
  *one = first_is_longer ? longer : shorter;
  *other = first_is_longer ? shorter : longer;
}

static int cut(const pb_tokenizer *tokenizer, pb_sequence *text, pb_sequence *pair, int has_pair, int room) {
  if (has_pair) share_room(room, &text->kept, &pair->kept);
  else if (text->kept > room) text->kept = room;
  pb_sequence *sequences[] = {text, pair};
  for (int i = 0; i < 2; i++)
    if (tokenizer->settings.cuts_left) sequences[i]->first = sequences[i]->count - sequences[i]->kept;
  return text->count + pair->count - text->kept - pair->kept;
}

/* Where a token lies, without white space where the checkpoint's tokenizer leaves it out; `index` is the token's place
   among those that are kept. */
static pb_span span_of(const pb_tokenizer *tokenizer, const pb_token *token, int index, int32_t sequence) {
  uint32_t start = token->start, end = token->end, leading = token->leading, trailing = token->trailing;
  if (!tokenizer->settings.trims) leading = trailing = 0;
  if (tokenizer->settings.keeps_first_space && leading == 1 && (index == 0 || start == 0)) leading = 0;
  start = start + leading < end ? start + leading : end;
  if (trailing && end >= trailing) end = end - trailing > start ? end - trailing : start;
  return (pb_span){(int32_t)start, (int32_t)end, sequence};
}

/* Where positions are written, any but `ids` being NULL. */
typedef struct {
  int64_t *ids;
  int64_t *types;
  int64_t *mask;
  pb_span *spans;
  int next;
} pb_positions;

static void put(pb_positions *to, int64_t id, int64_t type, int64_t mask, pb_span span) {
  to->ids[to->next] = id;
  if (to->types) to->types[to->next] = type;
  if (to->mask) to->mask[to->next] = mask;
  if (to->spans) to->spans[to->next] = span;
  to->next++;
}

static void put_slot(const pb_tokenizer *tokenizer, const pb_slot *slot, const pb_sequence *sequences,
                     pb_positions *to) {
  if (slot->part == PB_SPECIAL) {
    put(to, slot->id, slot->type, 1, (pb_span){0, 0, -1});
    return;
  }
  const pb_sequence *sequence = &sequences[slot->part == PB_PAIR];
  for (int i = 0; i < sequence->kept; i++) {
    const pb_token *token = &sequence->tokens[sequence->first + i];
    put(to, token->id, slot->type, 1, span_of(tokenizer, token, i, slot->part == PB_PAIR));
  }
}

static void put_padding(const pb_tokenizer *tokenizer, int count, pb_positions *to) {
  for (int i = 0; i < count; i++)
    put(to, tokenizer->settings.padding_id, tokenizer->settings.padding_type, 0, (pb_span){0, 0, -1});
}

/* Fills all positions from the tokens that are kept. Returns how many are not padding. */
static int fill(const pb_tokenizer *tokenizer, const pb_sequence *sequences, int has_pair, int length, pb_positions *to) {
  const pb_settings *settings = &tokenizer->settings;
  const pb_slot *slots = tokenizer->slots + (has_pair ? settings->slots_of_one : 0);
  int count = has_pair ? settings->slots_of_two : settings->slots_of_one;
  int used = count - 1 - has_pair + sequences[0].kept + sequences[1].kept;
  if (settings->pads_left) put_padding(tokenizer, length - used, to);
  for (int i = 0; i < count; i++) put_slot(tokenizer, &slots[i], sequences, to);
  if (!settings->pads_left) put_padding(tokenizer, length - used, to);
  return used;
}

int pb_tokenize(const pb_tokenizer *tokenizer, const char *text, size_t text_bytes, const char *pair, size_t pair_bytes,
                int64_t *ids, int64_t *types, int64_t *mask, pb_span *spans, int length, int *removed, char *error,
                size_t size) {
  int has_pair = pair != NULL, used = -1;
  int special = has_pair ? tokenizer->settings.slots_of_two - 2 : tokenizer->settings.slots_of_one - 1;
  if (length < special) {
    if (size) snprintf(error, size, "%d positions are less than the %d special tokens", length, special);
    return -1;
  }
  if (check_text("text", text, text_bytes, error, size)) return -1;
  if (has_pair && check_text("pair", pair, pair_bytes, error, size)) return -1;
  pb_sequence sequences[2];
  memset(sequences, 0, sizeof sequences);
  int enough = read_sequence(tokenizer, text, text_bytes, &sequences[0]);
  if (enough && has_pair) enough = read_sequence(tokenizer, pair, pair_bytes, &sequences[1]);
  int cuts = cut(tokenizer, &sequences[0], &sequences[1], has_pair, length - special);
  if (!enough) {
    refuse(error, size, "not enough memory for the tokens of a text");
  } else if (cuts && !removed) {
    if (size) snprintf(error, size, "%d tokens more than the %d positions hold", cuts, length);
  } else {
    if (removed) *removed = cuts;
    used = fill(tokenizer, sequences, has_pair, length, &(pb_positions){ids, types, mask, spans, 0});
  }
  free(sequences[0].tokens);
  free(sequences[1].tokens);
  return used;
}
