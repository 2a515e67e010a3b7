/* Opens a table: every size and every number in it that is an index is checked, so that no table makes a call read
   beyond it, and the checksum tells whether anything was changed. */
#include "text/table.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A section while a table is checked. */
typedef struct {
  const unsigned char *bytes;
  size_t count; /* of items */
} pb_items;

static const uint8_t ITEM_BYTES[PB_SECTION_COUNT] = {
    [PB_SETTINGS] = sizeof(pb_settings), [PB_TEMPLATE] = sizeof(pb_slot),
    [PB_ADDED] = sizeof(pb_added),       [PB_ADDED_TEXT] = 1,
    [PB_BLOCKS] = 2,                     [PB_CHARACTERS] = 2,
    [PB_RECORDS] = sizeof(pb_record),    [PB_PIECES] = 1,
    [PB_WORD_ENDS] = 4,                  [PB_WORD_TEXT] = 1,
    [PB_WORD_SLOTS] = 4,                 [PB_SCORES] = sizeof(double),
    [PB_BYTE_IDS] = 4,                   [PB_MERGES] = sizeof(pb_merge),
    [PB_MERGE_SLOTS] = 4,                [PB_STEPS] = sizeof(pb_step_of_text),
    [PB_STEP_TEXT] = 1,                  [PB_CHARSMAP_TRIE] = 4,
    [PB_CHARSMAP_TEXT] = 1};

/* Two sums of 32-bit words: any one word that changes, and any two that change places, change them. */
static int is_unchanged(const pb_table_header *header) {
  const uint32_t *word = (const uint32_t *)(const void *)header->sections;
  const uint32_t *end = (const uint32_t *)(const void *)((const char *)header + header->bytes);
  uint64_t sum = header->kind, sums = header->version;
  for (; word < end; word++) {
    sum += *word;
    sums += sum;
  }
  return sum == header->checksum[0] && sums == header->checksum[1];
}

static const char *check_header(const pb_table_header *header, size_t bytes) {
  if ((uintptr_t)header % 8) return "the table does not begin at a multiple of 8 bytes";
  if (bytes < sizeof *header || memcmp(header->magic, PB_TABLE_MAGIC, sizeof header->magic))
    return "this is no table of a tokenizer";
  if (header->version != PB_TABLE_VERSION) return "the table is of another version than this library";
  if (header->bytes != bytes || bytes % 8) return "the table is not whole";
  if (!is_unchanged(header)) return "the table is damaged: its checksum is another";
  if (header->kind < PB_WORD_PIECE || header->kind > PB_UNIGRAM) return "the table is of an unknown kind";
  return NULL;
}

/* Whether all sections lie in the table and hold whole items. */
static int find_sections(const pb_table_header *header, pb_items *items) {
  for (int i = 0; i < PB_SECTION_COUNT; i++) {
    pb_section section = header->sections[i];
    if (section.offset % 8 || section.offset > header->bytes || section.bytes > header->bytes - section.offset ||
        section.bytes % ITEM_BYTES[i])
      return 0;
    items[i] = (pb_items){(const unsigned char *)header + section.offset, (size_t)section.bytes / ITEM_BYTES[i]};
  }
  return items[PB_SETTINGS].count == 1;
}

static int is_flag(int32_t value) { return value == 0 || value == 1; }

static int are_settings(const pb_settings *settings, const pb_items *items) {
  int64_t slots = (int64_t)settings->slots_of_one + settings->slots_of_two;
  return is_flag(settings->pads_left) && is_flag(settings->cuts_left) && is_flag(settings->trims) &&
         is_flag(settings->keeps_first_space) && is_flag(settings->splits_at_spaces) &&
         is_flag(settings->splits_at_marks) && settings->slots_of_one >= 1 && settings->slots_of_two >= 2 &&
         slots == (int64_t)items[PB_TEMPLATE].count && settings->padding_id >= 0 && settings->unknown_id >= 0 &&
         settings->index_bits >= 1 && settings->index_bits <= 31 && settings->longest_word >= 0 &&
         settings->longest_word <= 1 << 20 && settings->longest_characters >= 0 && settings->prefix_bytes >= 0 &&
         settings->prefix_bytes <= (int32_t)sizeof settings->prefix && settings->prepends >= PB_NEVER &&
         settings->prepends <= PB_ALWAYS;
}

/* Whether slots hold each text once, and no other. */
static int are_slots(const pb_slot *slots, int count, int texts) {
  int found[3] = {0, 0, 0};
  for (int i = 0; i < count; i++) {
    if (slots[i].part < PB_SPECIAL || slots[i].part > PB_PAIR) return 0;
    found[slots[i].part]++;
  }
  return found[PB_TEXT] == 1 && found[PB_PAIR] == texts - 1;
}

static int is_utf8(const unsigned char *bytes, size_t count) { return pb_valid_prefix(bytes, count) == count; }

/* Added tokens lie in their text, are not empty, and come by set and first byte, which is noted in `begin`. */
static int are_added(const pb_items *items, uint32_t begin[2][257]) {
  const pb_added *added = (const pb_added *)(const void *)items[PB_ADDED].bytes;
  int last = -1, place = 0;
  for (size_t i = 0; i < items[PB_ADDED].count; i++) {
    size_t room = items[PB_ADDED_TEXT].count;
    if (!added[i].bytes || added[i].offset > room || added[i].bytes > room - added[i].offset) return 0;
    if (!is_utf8(items[PB_ADDED_TEXT].bytes + added[i].offset, added[i].bytes)) return 0;
    place = (added[i].flags & PB_NORMALISED ? 256 : 0) + items[PB_ADDED_TEXT].bytes[added[i].offset];
    if (place < last) return 0;
    for (; last < place; last++) begin[(last + 1) / 256][(last + 1) % 256] = (uint32_t)i;
  }
  for (; last < 511; last++) begin[(last + 1) / 256][(last + 1) % 256] = (uint32_t)items[PB_ADDED].count;
  begin[0][256] = begin[1][0];
  begin[1][256] = (uint32_t)items[PB_ADDED].count;
  return 1;
}

static int are_indices(const uint16_t *values, size_t count, size_t limit) {
  uint16_t largest = 0;
  for (size_t i = 0; i < count; i++) largest = values[i] > largest ? values[i] : largest;
  return largest < limit;
}

/* Whether the pieces that begin at `at` lie in their section and are UTF-8. */
static int are_pieces(pb_items pieces, size_t at) {
  if (at >= pieces.count) return 0;
  int count = pieces.bytes[at++];
  for (int i = 0; i < count; i++) {
    if (pieces.count - at < 2 || pieces.count - at - 2 < pieces.bytes[at + 1]) return 0;
    if (!is_utf8(pieces.bytes + at + 2, pieces.bytes[at + 1])) return 0;
    at += 2 + (size_t)pieces.bytes[at + 1];
  }
  return 1;
}

static int are_characters(const pb_items *items) {
  const pb_record *records = (const pb_record *)(const void *)items[PB_RECORDS].bytes;
  if (items[PB_BLOCKS].count != PB_BLOCK_COUNT || items[PB_CHARACTERS].count % 128) return 0;
  if (!are_indices((const uint16_t *)(const void *)items[PB_BLOCKS].bytes, PB_BLOCK_COUNT,
                   items[PB_CHARACTERS].count / 128))
    return 0;
  if (!are_indices((const uint16_t *)(const void *)items[PB_CHARACTERS].bytes, items[PB_CHARACTERS].count,
                   items[PB_RECORDS].count))
    return 0;
  for (size_t i = 0; i < items[PB_RECORDS].count; i++)
    if (records[i].pieces && !are_pieces(items[PB_PIECES], records[i].pieces - 1)) return 0;
  return 1;
}

/* Whether these are hashed numbers from 1 to `limit`, with at least one empty slot, where a search ends. */
static int are_hashed(pb_items slots, uint32_t low, size_t limit) {
  const uint32_t *values = (const uint32_t *)(const void *)slots.bytes;
  size_t empty = 0;
  uint32_t largest = 0;
  if (!slots.count || slots.count > UINT32_MAX || slots.count & (slots.count - 1)) return 0;
  for (size_t i = 0; i < slots.count; i++) {
    uint32_t index = values[i] & low;
    empty += !values[i];
    if (values[i] && !index) return 0;
    largest = index > largest ? index : largest;
  }
  return empty > 0 && largest <= limit;
}

static int are_words(const pb_items *items, const pb_settings *settings) {
  const uint32_t *ends = (const uint32_t *)(const void *)items[PB_WORD_ENDS].bytes;
  size_t count = items[PB_WORD_ENDS].count;
  int ordered = 1;
  for (size_t i = 1; i < count; i++) ordered &= ends[i] >= ends[i - 1];
  return count > 0 && count < INT32_MAX && ordered && ends[count - 1] == items[PB_WORD_TEXT].count &&
         are_hashed(items[PB_WORD_SLOTS], (1u << settings->index_bits) - 1, count);
}

static int are_merges(const pb_items *items) {
  return items[PB_BYTE_IDS].count == 256 && items[PB_MERGES].count < INT32_MAX &&
         are_hashed(items[PB_MERGE_SLOTS], UINT32_MAX, items[PB_MERGES].count);
}

/* Whether every value of the trie is where a character begins in the replacements, which end in NUL. */
static int is_charsmap(const pb_items *items) {
  const uint32_t *units = (const uint32_t *)(const void *)items[PB_CHARSMAP_TRIE].bytes;
  pb_items text = items[PB_CHARSMAP_TEXT];
  if (!text.count) return !items[PB_CHARSMAP_TRIE].count;
  if (text.bytes[text.count - 1] || !is_utf8(text.bytes, text.count)) return 0;
  for (size_t i = 0; i < items[PB_CHARSMAP_TRIE].count; i++) {
    size_t value = units[i] & ~(1u << 31);
    if (units[i] >> 31 && (value >= text.count || !pb_begins(text.bytes[value]))) return 0;
  }
  return 1;
}

static int are_steps(const pb_items *items) {
  const pb_step_of_text *steps = (const pb_step_of_text *)(const void *)items[PB_STEPS].bytes;
  for (size_t i = 0; i < items[PB_STEPS].count; i++) {
    if (steps[i].what < PB_CHARSMAP || steps[i].what > PB_JOIN_SPACES) return 0;
    if (steps[i].what == PB_JOIN_SPACES &&
        (steps[i].first < 0 || steps[i].second < steps[i].first ||
         (size_t)steps[i].second > items[PB_STEP_TEXT].count ||
         !is_utf8(items[PB_STEP_TEXT].bytes + steps[i].first, (size_t)(steps[i].second - steps[i].first))))
      return 0;
  }
  return is_charsmap(items);
}

static int is_model(uint32_t kind, const pb_items *items, const pb_settings *settings) {
  if (kind == PB_BYTE_LEVEL) return are_merges(items);
  if (!are_words(items, settings)) return 0;
  return kind == PB_WORD_PIECE || (items[PB_SCORES].count == items[PB_WORD_ENDS].count && are_steps(items));
}

static void point(pb_tokenizer *to, const pb_items *items) {
  to->slots = (const pb_slot *)(const void *)items[PB_TEMPLATE].bytes;
  to->added = (const pb_added *)(const void *)items[PB_ADDED].bytes;
  to->added_text = items[PB_ADDED_TEXT].bytes;
  to->blocks = (const uint16_t *)(const void *)items[PB_BLOCKS].bytes;
  to->characters = (const uint16_t *)(const void *)items[PB_CHARACTERS].bytes;
  to->records = (const pb_record *)(const void *)items[PB_RECORDS].bytes;
  to->pieces = items[PB_PIECES].bytes;
  to->word_ends = (const uint32_t *)(const void *)items[PB_WORD_ENDS].bytes;
  to->word_text = items[PB_WORD_TEXT].bytes;
  to->word_slots = (const uint32_t *)(const void *)items[PB_WORD_SLOTS].bytes;
  to->word_mask = (uint32_t)items[PB_WORD_SLOTS].count - 1;
  to->scores = (const double *)(const void *)items[PB_SCORES].bytes;
  to->byte_ids = (const uint32_t *)(const void *)items[PB_BYTE_IDS].bytes;
  to->merges = (const pb_merge *)(const void *)items[PB_MERGES].bytes;
  to->merge_slots = (const uint32_t *)(const void *)items[PB_MERGE_SLOTS].bytes;
  to->merge_mask = (uint32_t)items[PB_MERGE_SLOTS].count - 1;
  to->steps = (const pb_step_of_text *)(const void *)items[PB_STEPS].bytes;
  to->step_count = items[PB_STEPS].count;
  to->step_text = items[PB_STEP_TEXT].bytes;
  to->trie = (const uint32_t *)(const void *)items[PB_CHARSMAP_TRIE].bytes;
  to->trie_count = items[PB_CHARSMAP_TRIE].count;
  to->charsmap_text = items[PB_CHARSMAP_TEXT].bytes;
  to->charsmap_bytes = items[PB_CHARSMAP_TEXT].count;
}

static pb_tokenizer *fail(pb_tokenizer *tokenizer, char *error, size_t size, const char *problem) {
  if (size) snprintf(error, size, "%s", problem);
  free(tokenizer);
  return NULL;
}

pb_tokenizer *pb_tokenizer_open(const void *table, size_t bytes, char *error, size_t size) {
  const pb_table_header *header = (const pb_table_header *)table;
  const char *problem = table ? check_header(header, bytes) : "there is no table";
  if (problem) return fail(NULL, error, size, problem);
  pb_items items[PB_SECTION_COUNT];
  if (!find_sections(header, items)) return fail(NULL, error, size, "a section lies outside of the table");
  pb_tokenizer *tokenizer = (pb_tokenizer *)calloc(1, sizeof *tokenizer);
  if (!tokenizer) return fail(NULL, error, size, "not enough memory to open a tokenizer");
  pb_settings *settings = &tokenizer->settings;
  memcpy(settings, items[PB_SETTINGS].bytes, sizeof *settings);
  tokenizer->kind = header->kind;
  point(tokenizer, items);
  if (!are_settings(settings, items) || !are_slots(tokenizer->slots, settings->slots_of_one, 1) ||
      !are_slots(tokenizer->slots + settings->slots_of_one, settings->slots_of_two, 2))
    return fail(tokenizer, error, size, "the table's settings contradict each other");
  if (!are_added(items, tokenizer->added_begin) || !are_characters(items) || !is_model(header->kind, items, settings))
    return fail(tokenizer, error, size, "a number in the table points outside of it");
  return tokenizer;
}

void pb_tokenizer_close(pb_tokenizer *tokenizer) { free(tokenizer); }
