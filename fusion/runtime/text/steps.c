/* Normalising as SentencePiece's models have it, with what Hugging Face's library makes of it: a table of replacements,
   white space cut off, several spaces as one. */
#include "text/clusters.h"
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

enum { LONGEST_CLUSTER = 5 }; /* bytes; longer ones are replaced character by character */

/* The replacement of the shortest beginning that has one, NULL where none has. The trie is SentencePiece's double array:
   a unit holds its label, where its children are, and whether a value is among them. Any unit may come to be read as a
   value, in a trie that SentencePiece did not make. */
static const unsigned char *replacement(const pb_tokenizer *tokenizer, const unsigned char *key, size_t count) {
  uint32_t unit = tokenizer->trie_count ? tokenizer->trie[0] : 0;
  size_t place = (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
  for (size_t i = 0; i < count && key[i]; i++) {
    place ^= key[i];
    if (place >= tokenizer->trie_count) return NULL;
    unit = tokenizer->trie[place];
    if ((unit & (1u << 31 | 0xFF)) != key[i]) return NULL;
    place ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
    if (!(unit >> 8 & 1)) continue;
    if (place >= tokenizer->trie_count) return NULL;
    size_t offset = tokenizer->trie[place] & ~(1u << 31);
    const unsigned char *text = tokenizer->charsmap_text + offset;
    return offset < tokenizer->charsmap_bytes && pb_begins(*text) ? text : NULL;
  }
  return NULL;
}

/* `change` says what a character replaces: one and -change more, or none where it is 1. */
static void add_character(pb_scratch *scratch, pb_text *to, const unsigned char *at, int32_t change) {
  int32_t *place = (int32_t *)pb_add(scratch, &scratch->changes, sizeof *place);
  if (place) *place = change;
  pb_append(scratch, to, at, pb_character_bytes(*at), 0);
}

static int32_t characters(const unsigned char *bytes, size_t count) {
  int32_t found = 0;
  for (size_t i = 0; i < count; i++) found += pb_begins(bytes[i]);
  return found;
}

/* Replaces `old` characters. Where fewer take their place the last one before accounts for the rest: the library does
   so, and at the beginning of a text, where there is none, it loses count, and all origins move. */
static void add_replacement(pb_scratch *scratch, pb_text *to, const unsigned char *text, int32_t old) {
  size_t count = strlen((const char *)text);
  int32_t added = characters(text, count) - old;
  for (size_t at = 0; at < count; at += pb_character_bytes(text[at]))
    add_character(scratch, to, text + at, 0);
  int32_t *changes = (int32_t *)scratch->changes.items;
  size_t last = scratch->changes.count;
  if (scratch->no_memory) return;
  for (int32_t i = 0; i < added; i++) changes[last - 1 - (size_t)i] = 1;
  if (added < 0 && last > 0) changes[last - 1] += added;
}

static void replace_characters(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part, pb_text *to) {
  for (size_t at = 0; at < part.count;) {
    size_t bytes = pb_character_bytes(part.bytes[at]);
    const unsigned char *text = replacement(tokenizer, part.bytes + at, bytes);
    if (text) add_replacement(scratch, to, text, 1);
    else add_character(scratch, to, part.bytes + at, 0);
    at += bytes;
  }
}

/* Gives every new character its origin, by what it replaces. */
static void trace(pb_scratch *scratch, pb_part from, pb_text *to) {
  const int32_t *changes = (const int32_t *)scratch->changes.items;
  uint32_t origin = 0;
  size_t source = 0;
  for (size_t at = 0, i = 0; at < to->count; i++) {
    for (int32_t taken = changes[i] > 0 ? 0 : 1 - changes[i]; taken > 0 && source < from.count; taken--) {
      if (taken == 1 - changes[i]) origin = from.origin[source];
      source += pb_character_bytes(from.bytes[source]);
    }
    for (size_t end = at + pb_character_bytes(to->bytes[at]); at < end; at++) to->origin[at] = origin;
  }
}

void pb_apply_charsmap(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part from, pb_text *to) {
  to->count = scratch->changes.count = 0;
  for (size_t at = 0, end; at < from.count; at = end) {
    end = pb_cluster_end(tokenizer, from, at);
    const unsigned char *text = NULL;
    if (end - at <= LONGEST_CLUSTER) text = replacement(tokenizer, from.bytes + at, end - at);
    if (text) add_replacement(scratch, to, text, characters(from.bytes + at, end - at));
    else replace_characters(tokenizer, scratch, pb_part_of(from, at, end), to);
  }
  if (!scratch->no_memory) trace(scratch, from, to);
}

static int is_space(const pb_tokenizer *tokenizer, const unsigned char *at) {
  return pb_record_of(tokenizer, pb_code_point(at))->flags & PB_SPACE;
}

static pb_part stripped(const pb_tokenizer *tokenizer, pb_part part, int left, int right) {
  size_t from = 0, to = part.count;
  while (left && from < to && is_space(tokenizer, part.bytes + from)) from += pb_character_bytes(part.bytes[from]);
  while (right && to > from) {
    size_t last = to - 1;
    while (!pb_begins(part.bytes[last])) last--;
    if (!is_space(tokenizer, part.bytes + last)) break;
    to = last;
  }
  return pb_part_of(part, from, to);
}

static void join_spaces(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part from, pb_text *to,
                        const pb_step_of_text *step) {
  to->count = 0;
  for (size_t at = 0, end; at < from.count; at = end) {
    for (end = at; end < from.count && from.bytes[end] == ' ';) end++;
    if (end - at > 1)
      pb_append(scratch, to, tokenizer->step_text + step->first, (size_t)(step->second - step->first),
                from.origin[end - 1]);
    else pb_append_part(scratch, to, pb_part_of(from, at, end += end == at));
  }
}

static void swap(pb_scratch *scratch) {
  pb_text other = scratch->other;
  scratch->other = scratch->normal;
  scratch->normal = other;
}

void pb_normalise_steps(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  scratch->normal.count = 0;
  pb_append_part(scratch, &scratch->normal, part);
  for (size_t i = 0; i < tokenizer->step_count && scratch->normal.count && !scratch->no_memory; i++) {
    const pb_step_of_text *step = &tokenizer->steps[i];
    pb_part from = pb_whole(&scratch->normal);
    if (step->what == PB_CHARSMAP) {
      pb_apply_charsmap(tokenizer, scratch, from, &scratch->other);
    } else if (step->what == PB_JOIN_SPACES) {
      join_spaces(tokenizer, scratch, from, &scratch->other, step);
    } else {
      scratch->other.count = 0;
      pb_append_part(scratch, &scratch->other, stripped(tokenizer, from, step->first, step->second));
    }
    swap(scratch);
  }
}
