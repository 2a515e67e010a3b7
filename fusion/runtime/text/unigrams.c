/* Unigram, as SentencePiece has it: of all ways to cut a word into known pieces, the one with the highest sum of
   scores. U+2581 stands for a space, and begins a word. */
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

static const unsigned char MARK[] = {0xE2, 0x96, 0x81}; /* U+2581 */

static int begins_with_mark(pb_part part, size_t at) {
  return part.count - at >= sizeof MARK && !memcmp(part.bytes + at, MARK, sizeof MARK);
}

static void offer(pb_best *best, double score, size_t start, uint32_t id) {
  if (best->start != PB_UNREACHED && !(score > best->score)) return;
  *best = (pb_best){score, (uint32_t)start, id};
}

/* All pieces that begin at `from`, each offered to the place where it ends. Where none is a single character, that
   character may be unknown. */
static void offer_pieces(const pb_tokenizer *tokenizer, pb_best *best, pb_part word, size_t from) {
  size_t most = word.count - from, single = pb_character_bytes(word.bytes[from]);
  if (most > (size_t)tokenizer->settings.longest_word) most = (size_t)tokenizer->settings.longest_word;
  uint32_t state = PB_HASH_START;
  int known = 0;
  for (size_t count = 1; count <= most; count++) {
    state = pb_hash_byte(state, word.bytes[from + count - 1]);
    if (from + count < word.count && !pb_begins(word.bytes[from + count])) continue;
    uint32_t id = pb_find_word(tokenizer, state, "", 0, word.bytes + from, count);
    if (id == PB_NO_WORD) continue;
    offer(&best[from + count], tokenizer->scores[id] + best[from].score, from, id);
    known |= count == single;
  }
  if (!known)
    offer(&best[from + single], tokenizer->settings.unknown_score + best[from].score, from,
          (uint32_t)tokenizer->settings.unknown_id);
}

/* The id of unknown characters that stand together and become one token. */
static uint32_t unknown_run(const pb_tokenizer *tokenizer, pb_part word, size_t from, size_t to) {
  uint32_t state = PB_HASH_START, id;
  if (to - from > (size_t)tokenizer->settings.longest_word) return (uint32_t)tokenizer->settings.unknown_id;
  for (size_t at = from; at < to; at++) state = pb_hash_byte(state, word.bytes[at]);
  id = pb_find_word(tokenizer, state, "", 0, word.bytes + from, to - from);
  return id == PB_NO_WORD ? (uint32_t)tokenizer->settings.unknown_id : id;
}

/* The tokens of the best way, which is known from its end: they are added backwards, then turned round. */
static void add_best(const pb_tokenizer *tokenizer, pb_scratch *scratch, const pb_best *best, pb_part word) {
  size_t first = scratch->tokens.count, to = word.count;
  while (to > 0) {
    uint32_t id = best[to].id;
    size_t from = best[to].start;
    if (id == (uint32_t)tokenizer->settings.unknown_id) {
      while (from > 0 && best[from].id == id) from = best[from].start;
      id = unknown_run(tokenizer, word, from, to);
    }
    if (!pb_add_token(scratch, id, word, from, to)) return;
    to = from;
  }
  pb_token *tokens = (pb_token *)scratch->tokens.items;
  for (size_t last = scratch->tokens.count; first + 1 < last; first++) {
    pb_token moved = tokens[--last];
    tokens[last] = tokens[first];
    tokens[first] = moved;
  }
}

static void add_word(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part word) {
  if (!pb_reserve(scratch, &scratch->best, word.count + 1, sizeof(pb_best))) return;
  pb_best *best = (pb_best *)scratch->best.items;
  for (size_t i = 0; i <= word.count; i++) best[i] = (pb_best){0, PB_UNREACHED, PB_NO_WORD};
  for (size_t from = 0; from < word.count; from += pb_character_bytes(word.bytes[from]))
    offer_pieces(tokenizer, best, word, from);
  add_best(tokenizer, scratch, best, word);
}

/* Words of a part in which U+2581 stands for spaces. */
static void add_words(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  size_t from = 0;
  for (size_t at = 1; tokenizer->settings.splits_at_marks && at < part.count; at++)
    if (begins_with_mark(part, at)) {
      add_word(tokenizer, scratch, pb_part_of(part, from, at));
      from = at;
    }
  if (from < part.count) add_word(tokenizer, scratch, pb_part_of(part, from, part.count));
}

static void spell(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  pb_text *spelled = &scratch->spelled;
  int prepends = tokenizer->settings.prepends;
  spelled->count = 0;
  if ((prepends == PB_ALWAYS || (prepends == PB_FIRST && part.origin[0] == 0)) && part.bytes[0] != ' ' &&
      !begins_with_mark(part, 0))
    pb_append(scratch, spelled, MARK, sizeof MARK, part.origin[0]);
  for (size_t at = 0; at < part.count; at++)
    if (part.bytes[at] == ' ') pb_append(scratch, spelled, MARK, sizeof MARK, part.origin[at]);
    else pb_append(scratch, spelled, part.bytes + at, 1, part.origin[at]);
  if (!scratch->no_memory) add_words(tokenizer, scratch, pb_whole(spelled));
}

void pb_unigrams(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  size_t from = 0;
  for (size_t at = 0; tokenizer->settings.splits_at_spaces && at < part.count;) {
    size_t bytes = pb_character_bytes(part.bytes[at]);
    if (pb_record_of(tokenizer, pb_code_point(part.bytes + at))->flags & PB_SPACE) {
      if (from < at) spell(tokenizer, scratch, pb_part_of(part, from, at));
      from = at + bytes;
    }
    at += bytes;
  }
  if (from < part.count) spell(tokenizer, scratch, pb_part_of(part, from, part.count));
}
