/* Byte-level BPE: GPT-2's expression splits a text into words, whose bytes are merged by rank. */
#include "text/table.h"
#include "text/utf8.h"

#include <string.h>

enum { CLASSES = PB_LETTER | PB_NUMBER | PB_BLANK };

static int class_at(const pb_tokenizer *tokenizer, pb_part part, size_t at) {
  return pb_record_of(tokenizer, pb_code_point(part.bytes + at))->flags & CLASSES;
}

/* The end of the run of characters of one class that begins at `at`; `last` is where its last character begins. */
static size_t run_end(const pb_tokenizer *tokenizer, pb_part part, size_t at, int class, size_t *last) {
  while (at < part.count && class_at(tokenizer, part, at) == class) {
    *last = at;
    at += pb_character_bytes(part.bytes[at]);
  }
  return at;
}

/* How many bytes of 's|'t|'re|'ve|'m|'ll|'d begin at `at`. */
static size_t contraction(pb_part part, size_t at) {
  static const char endings[][3] = {"s", "t", "re", "ve", "m", "ll", "d"};
  for (size_t i = 0; part.bytes[at] == '\'' && i < sizeof endings / sizeof *endings; i++) {
    size_t count = strlen(endings[i]);
    if (count < part.count - at && !memcmp(part.bytes + at + 1, endings[i], count)) return count + 1;
  }
  return 0;
}

/* Where the word ends that begins at `at`, by
   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t word_end(const pb_tokenizer *tokenizer, pb_part part, size_t at) {
  size_t last = at, taken = contraction(part, at);
  if (taken) return at + taken;
  if (part.bytes[at] == ' ' && at + 1 < part.count && class_at(tokenizer, part, at + 1) != PB_BLANK)
    return run_end(tokenizer, part, at + 1, class_at(tokenizer, part, at + 1), &last);
  int class = class_at(tokenizer, part, at);
  size_t end = run_end(tokenizer, part, at, class, &last);
  /* White space leaves its last character to the word after it, where it has more than one. */
  return class == PB_BLANK && end < part.count && last > at ? last : end;
}

uint32_t pb_find_merge(const pb_tokenizer *tokenizer, uint32_t left, uint32_t right) {
  uint32_t hash = (left * 0x9E3779B1u ^ right) * 0x85EBCA6Bu;
  hash ^= hash >> 15;
  for (uint32_t place = hash & tokenizer->merge_mask;; place = (place + 1) & tokenizer->merge_mask) {
    uint32_t slot = tokenizer->merge_slots[place];
    if (!slot) return PB_NO_WORD;
    const pb_merge *merge = &tokenizer->merges[slot - 1];
    if (merge->left == left && merge->right == right) return slot - 1;
  }
}

/* Merges go by rank, then from left to right. */
static int comes_first(pb_waiting one, pb_waiting other) {
  return one.rank != other.rank ? one.rank < other.rank : one.place < other.place;
}

static void push(pb_scratch *scratch, pb_waiting merge) {
  if (!pb_add(scratch, &scratch->waiting, sizeof merge)) return;
  pb_waiting *heap = (pb_waiting *)scratch->waiting.items;
  size_t at = scratch->waiting.count - 1;
  for (; at > 0 && comes_first(merge, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
  heap[at] = merge;
}

static pb_waiting pop(pb_scratch *scratch) {
  pb_waiting *heap = (pb_waiting *)scratch->waiting.items;
  pb_waiting first = heap[0], moved = heap[--scratch->waiting.count];
  size_t at = 0, count = scratch->waiting.count;
  for (size_t child = 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && comes_first(heap[child + 1], heap[child])) child++;
    if (!comes_first(heap[child], moved)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
  return first;
}

/* Lets the merge of a symbol with the one after it wait, if there is one. */
static void propose(const pb_tokenizer *tokenizer, pb_scratch *scratch, int32_t place) {
  const pb_symbol *symbols = (const pb_symbol *)scratch->symbols.items;
  if (place < 0 || symbols[place].next < 0) return;
  uint32_t rank = pb_find_merge(tokenizer, symbols[place].id, symbols[symbols[place].next].id);
  if (rank != PB_NO_WORD) push(scratch, (pb_waiting){rank, (uint32_t)place, tokenizer->merges[rank].result});
}

static void merge_all(const pb_tokenizer *tokenizer, pb_scratch *scratch) {
  pb_symbol *symbols = (pb_symbol *)scratch->symbols.items;
  while (scratch->waiting.count) {
    pb_waiting merge = pop(scratch);
    pb_symbol *left = &symbols[merge.place];
    if (left->start == left->end || left->next < 0) continue;
    pb_symbol *right = &symbols[left->next];
    /* What waited may have been overtaken. As in Hugging Face's library, what counts is that the result is the same. */
    uint32_t rank = pb_find_merge(tokenizer, left->id, right->id);
    if (rank == PB_NO_WORD || tokenizer->merges[rank].result != merge.result) continue;
    left->id = merge.result;
    left->end = right->end;
    left->next = right->next;
    right->end = right->start;
    if (left->next >= 0) symbols[left->next].previous = (int32_t)merge.place;
    propose(tokenizer, scratch, left->previous);
    propose(tokenizer, scratch, (int32_t)merge.place);
  }
}

static void add_word(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part word) {
  if (!pb_reserve(scratch, &scratch->symbols, word.count, sizeof(pb_symbol))) return;
  pb_symbol *symbols = (pb_symbol *)scratch->symbols.items;
  int32_t count = (int32_t)word.count;
  for (int32_t i = 0; i < count; i++)
    symbols[i] = (pb_symbol){tokenizer->byte_ids[word.bytes[i]], (uint32_t)i, (uint32_t)i + 1, i - 1,
                             i + 1 < count ? i + 1 : -1};
  scratch->waiting.count = 0;
  for (int32_t i = 0; i + 1 < count; i++) propose(tokenizer, scratch, i);
  merge_all(tokenizer, scratch);
  for (int32_t i = 0; i >= 0; i = symbols[i].next) {
    pb_token *token = pb_add_token(scratch, symbols[i].id, word, symbols[i].start, symbols[i].end);
    if (!token) return;
    for (uint32_t at = symbols[i].start; at < symbols[i].end && word.bytes[at] == ' '; at++) token->leading++;
    for (uint32_t at = symbols[i].end; at > symbols[i].start && word.bytes[at - 1] == ' '; at--) token->trailing++;
  }
}

void pb_byte_pairs(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part) {
  if (tokenizer->settings.prepends == PB_ALWAYS && part.bytes[0] != ' ') {
    scratch->spelled.count = 0;
    pb_append(scratch, &scratch->spelled, (const unsigned char *)" ", 1, part.origin[0]);
    pb_append_part(scratch, &scratch->spelled, part);
    part = pb_whole(&scratch->spelled);
  }
  for (size_t at = 0, end; at < part.count && !scratch->no_memory; at = end) {
    end = word_end(tokenizer, part, at);
    add_word(tokenizer, scratch, pb_part_of(part, at, end));
  }
}
