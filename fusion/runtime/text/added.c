/* Added tokens, such as "[SEP]" or "<mask>", where they are written in a text: leftmost, and of those the longest. */
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

/* The added token that begins at `at`; the longest, as they are in that order. */
static const pb_added *added_at(const pb_tokenizer *tokenizer, int set, pb_part part, size_t at) {
  const uint32_t *begin = &tokenizer->added_begin[set][part.bytes[at]];
  for (uint32_t i = begin[0]; i < begin[1]; i++) {
    const pb_added *added = &tokenizer->added[i];
    if (added->bytes <= part.count - at && !memcmp(tokenizer->added_text + added->offset, part.bytes + at, added->bytes))
      return added;
  }
  return NULL;
}

static int flags_at(const pb_tokenizer *tokenizer, pb_part part, size_t at) {
  return pb_record_of(tokenizer, pb_code_point(part.bytes + at))->flags;
}

static size_t before(pb_part part, size_t at) {
  do at--;
  while (!pb_begins(part.bytes[at]));
  return at;
}

/* Whether neither neighbour is a character of words. */
static int stands_alone(const pb_tokenizer *tokenizer, pb_part part, size_t start, size_t stop) {
  if (start > 0 && flags_at(tokenizer, part, before(part, start)) & PB_WORD_CHARACTER) return 0;
  return stop == part.count || !(flags_at(tokenizer, part, stop) & PB_WORD_CHARACTER);
}

const pb_added *pb_next_added(const pb_tokenizer *tokenizer, int normalised, pb_part part, size_t *at, size_t from,
                              size_t *start, size_t *stop) {
  while (*at < part.count) {
    const pb_added *added = added_at(tokenizer, normalised, part, *at);
    if (!added) {
      ++*at;
      continue;
    }
    *start = *at;
    *at = *stop = *start + added->bytes;
    if (added->flags & PB_SINGLE_WORD && !stands_alone(tokenizer, part, *start, *stop)) continue;
    /* Spaces that the token before took are not taken again. */
    if (added->flags & PB_STRIPS_LEFT) {
      while (*start > 0 && flags_at(tokenizer, part, before(part, *start)) & PB_REGEX_SPACE) *start = before(part, *start);
      if (*start < from) *start = from;
    }
    if (added->flags & PB_STRIPS_RIGHT)
      while (*stop < part.count && flags_at(tokenizer, part, *stop) & PB_REGEX_SPACE)
        *stop += pb_character_bytes(part.bytes[*stop]);
    return added;
  }
  return NULL;
}
