/* Grapheme clusters, by Unicode's rules (UAX 29) and the classes in a tokenizer's table. Regional indicators are not
   among them: SentencePiece's replacement asks of clusters of at most 5 bytes only, and a flag has 8. */
#ifndef PB_CLUSTERS_H
#define PB_CLUSTERS_H
#include "text/table.h"
#include "text/utf8.h"

enum { PB_OTHER, PB_CONTROL, PB_EXTEND, PB_PREPEND, PB_LEADING, PB_VOWEL, PB_TRAILING, PB_LV, PB_LVT, PB_SPACING };
enum { PB_CLASS = 15, PB_PICTOGRAPH = 16, PB_CONSONANT = 32, PB_LINKER = 64, PB_CONJUNCT_EXTEND = 128 };
enum { PB_JOINER = 0x200D };

/* What the characters of a cluster so far mean for the next one: after a pictograph and what extends it, 1, and after a
   joiner then, 2; after a consonant, 1, and after a linker then, 2. */
typedef struct {
  int pictograph;
  int conjunct;
} pb_cluster_state;

static inline void pb_cluster_step(pb_cluster_state *state, uint32_t code_point, int cluster) {
  if (cluster & PB_PICTOGRAPH) state->pictograph = 1;
  else if (state->pictograph == 1 && code_point == PB_JOINER) state->pictograph = 2;
  else if (state->pictograph == 2 || (cluster & PB_CLASS) != PB_EXTEND) state->pictograph = 0;
  if (cluster & PB_CONSONANT) state->conjunct = 1;
  else if (cluster & PB_LINKER) state->conjunct = state->conjunct ? 2 : 0;
  else if (!(cluster & PB_CONJUNCT_EXTEND)) state->conjunct = 0;
}

/* Whether a Hangul syllable goes on. */
static inline int pb_syllable_goes_on(int before, int after) {
  switch (before) {
  case PB_LEADING: return after == PB_LEADING || after == PB_VOWEL || after == PB_LV || after == PB_LVT;
  case PB_VOWEL:
  case PB_LV: return after == PB_VOWEL || after == PB_TRAILING;
  case PB_TRAILING:
  case PB_LVT: return after == PB_TRAILING;
  default: return 0;
  }
}

static inline int pb_cluster_goes_on(pb_cluster_state state, int before, int after) {
  int left = before & PB_CLASS, right = after & PB_CLASS;
  if (left == PB_CONTROL || right == PB_CONTROL) return 0;
  if (right == PB_EXTEND || right == PB_SPACING || left == PB_PREPEND) return 1;
  if (state.pictograph == 2 && after & PB_PICTOGRAPH) return 1;
  return (state.conjunct == 2 && after & PB_CONSONANT) || pb_syllable_goes_on(left, right);
}

/* Where the cluster ends that begins at `at`. */
static inline size_t pb_cluster_end(const pb_tokenizer *tokenizer, pb_part part, size_t at) {
  size_t end = at + pb_character_bytes(part.bytes[at]);
  if (part.bytes[at] == '\r') return end + (end < part.count && part.bytes[end] == '\n');
  uint32_t code_point = pb_code_point(part.bytes + at);
  int before = pb_record_of(tokenizer, code_point)->cluster;
  pb_cluster_state state = {0, 0};
  while (end < part.count) {
    if (part.bytes[end] < 0x80 && (before & PB_CLASS) != PB_PREPEND) break;
    pb_cluster_step(&state, code_point, before);
    code_point = pb_code_point(part.bytes + end);
    int after = pb_record_of(tokenizer, code_point)->cluster;
    if (!pb_cluster_goes_on(state, before, after)) break;
    before = after;
    end += pb_character_bytes(part.bytes[end]);
  }
  return end;
}
#endif
