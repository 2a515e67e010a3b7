/* BERT's words and WordPiece: words end at white space, punctuation is words of one character, and a word is the
   longest piece that it begins with, then the longest of those that go on, or unknown as a whole. */
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

static uint32_t final_hash(uint32_t state) {
  state = (state ^ state >> 16) * 0x7FEB352Du;
  return state ^ state >> 15;
}

uint32_t pb_find_word(const pb_tokenizer *tokenizer, uint32_t state, const char *prefix, size_t prefix_bytes,
                      const unsigned char *bytes, size_t count) {
  uint32_t hash = final_hash(state), low = (1u << tokenizer->settings.index_bits) - 1;
  for (uint32_t place = hash & tokenizer->word_mask;; place = (place + 1) & tokenizer->word_mask) {
    uint32_t slot = tokenizer->word_slots[place], id = (slot & low) - 1;
    if (!slot) return PB_NO_WORD;
    if ((slot ^ hash) & ~low) continue;
    uint32_t begin = id ? tokenizer->word_ends[id - 1] : 0;
    if (tokenizer->word_ends[id] - begin != prefix_bytes + count) continue;
    const unsigned char *text = tokenizer->word_text + begin;
    if (!memcmp(text, prefix, prefix_bytes) && !memcmp(text + prefix_bytes, bytes, count)) return id;
  }
}

/* The longest piece that begins at `from`; `*to` is where it ends. */
static uint32_t longest_piece(const pb_tokenizer *tokenizer, uint32_t *states, pb_part word, size_t from, size_t *to) {
  const pb_settings *settings = &tokenizer->settings;
  size_t prefix = from ? (size_t)settings->prefix_bytes : 0;
  size_t most = (size_t)settings->longest_word - (prefix < (size_t)settings->longest_word ? prefix : 0);
  if (most > word.count - from) most = word.count - from;
  uint32_t state = PB_HASH_START;
  for (size_t i = 0; i < prefix; i++) state = pb_hash_byte(state, (unsigned char)settings->prefix[i]);
  for (size_t i = 0; i < most; i++) states[i] = state = pb_hash_byte(state, word.bytes[from + i]);
  for (size_t count = most; count > 0; count--) {
    if (from + count < word.count && !pb_begins(word.bytes[from + count])) continue;
    uint32_t id = pb_find_word(tokenizer, states[count - 1], settings->prefix, prefix, word.bytes + from, count);
    if (id == PB_NO_WORD) continue;
    *to = from + count;
    return id;
  }
  return PB_NO_WORD;
}

static void add_word(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part word, size_t characters) {
  uint32_t *states = (uint32_t *)scratch->states.items;
  size_t before = scratch->tokens.count;
  int known = characters <= (size_t)tokenizer->settings.longest_characters;
  for (size_t from = 0, to = 0; known && from < word.count; from = to) {
    uint32_t id = longest_piece(tokenizer, states, word, from, &to);
    known = id != PB_NO_WORD;
    if (known) pb_add_token(scratch, id, word, from, to);
  }
  if (known) return;
  scratch->tokens.count = before;
  pb_add_token(scratch, (uint32_t)tokenizer->settings.unknown_id, word, 0, word.count);
}

void pb_word_pieces(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  size_t from = 0, characters = 0;
  if (!pb_reserve(scratch, &scratch->states, (size_t)tokenizer->settings.longest_word + 1, sizeof(uint32_t))) return;
  for (size_t at = 0; at < part.count;) {
    size_t bytes = pb_character_bytes(part.bytes[at]);
    int flags = pb_record_of(tokenizer, pb_code_point(part.bytes + at))->flags;
    if (flags & (PB_SPACE | PB_PUNCTUATION)) {
      if (from < at) add_word(tokenizer, scratch, pb_part_of(part, from, at), characters);
      if (flags & PB_PUNCTUATION) add_word(tokenizer, scratch, pb_part_of(part, at, at + bytes), 1);
      from = at + bytes;
      characters = 0;
    } else {
      characters++;
    }
    at += bytes;
  }
  if (from < part.count) add_word(tokenizer, scratch, pb_part_of(part, from, part.count), characters);
}
