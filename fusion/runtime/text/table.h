/* The table of a tokenizer, as fusion/tokenizer/table.py writes it, and the tokenizer that reads it.

   A header, then sections, each at a multiple of 8 bytes, in the order of pb_section_name. Numbers are little-endian. */
#ifndef PB_TEXT_TABLE_H
#define PB_TEXT_TABLE_H
#include "pocketbert_text.h"
#include "text/scratch.h"

#define PB_TABLE_VERSION 1

enum { PB_WORD_PIECE = 1, PB_BYTE_LEVEL = 2, PB_UNIGRAM = 3 }; /* kinds of tokenizers */

typedef enum {
  PB_SETTINGS,       /* pb_settings */
  PB_TEMPLATE,       /* pb_slot: of one text, then of two */
  PB_ADDED,          /* pb_added, by set, first byte, and length, the longest first */
  PB_ADDED_TEXT,     /* bytes of added tokens */
  PB_BLOCKS,         /* uint16 [PB_BLOCK_COUNT]: block of each 128 code points */
  PB_CHARACTERS,     /* uint16 [blocks x 128]: record of each code point */
  PB_RECORDS,        /* pb_record */
  PB_PIECES,         /* of a record: how many, then of each its rank, how many bytes, bytes */
  PB_WORD_ENDS,      /* uint32 [words]: where each word's text ends; words are numbered by their ids */
  PB_WORD_TEXT,      /* bytes */
  PB_WORD_SLOTS,     /* uint32 [a power of two], hashed: an id + 1 in the low bits, and more of the hash; 0 is empty */
  PB_SCORES,         /* double [words] */
  PB_BYTE_IDS,       /* uint32 [256] */
  PB_MERGES,         /* pb_merge, by rank */
  PB_MERGE_SLOTS,    /* uint32 [a power of two], hashed: a rank + 1; 0 is empty */
  PB_STEPS,          /* pb_step_of_text */
  PB_STEP_TEXT,      /* bytes */
  PB_CHARSMAP_TRIE,  /* uint32, a double array as SentencePiece writes it */
  PB_CHARSMAP_TEXT,  /* replacements, each ended by NUL */
  PB_SECTION_COUNT
} pb_section_name;

typedef struct {
  uint64_t offset;
  uint64_t bytes;
} pb_section;

typedef struct {
  char magic[8];
  uint32_t version;
  uint32_t kind;
  uint64_t bytes;       /* of the whole table */
  uint64_t checksum[2]; /* of what follows */
  pb_section sections[PB_SECTION_COUNT];
} pb_table_header;

#define PB_TABLE_MAGIC "PBTOKENS"

typedef struct {
  double unknown_score;
  int32_t padding_id;
  int32_t padding_type;
  int32_t pads_left;
  int32_t cuts_left;
  int32_t slots_of_one; /* of the template: of one text, and of two */
  int32_t slots_of_two;
  int32_t trims;             /* whether spans leave out white space, */
  int32_t keeps_first_space; /* but for one space before a text */
  int32_t unknown_id;
  int32_t index_bits;         /* low bits of a slot that hold an id + 1 */
  int32_t longest_word;       /* bytes of the longest text of a word */
  int32_t longest_characters; /* of a word: longer ones are unknown */
  int32_t prefix_bytes;       /* of what continuing word pieces begin with, */
  char prefix[16];
  int32_t prepends;         /* what is put before a text: PB_NEVER, PB_FIRST, PB_ALWAYS */
  int32_t splits_at_spaces; /* whether white space separates parts, of which each is a text of its own */
  int32_t splits_at_marks;  /* whether each U+2581 begins a word */
} pb_settings;

enum { PB_NEVER, PB_FIRST, PB_ALWAYS };

enum { PB_SPECIAL, PB_TEXT, PB_PAIR }; /* what stands in a slot */

typedef struct {
  int32_t part;
  int32_t id;
  int32_t type;
} pb_slot;

enum { PB_NORMALISED = 1, PB_STRIPS_LEFT = 2, PB_STRIPS_RIGHT = 4, PB_SINGLE_WORD = 8 };

typedef struct {
  uint32_t offset;
  uint32_t bytes;
  uint32_t id;
  uint32_t flags;
} pb_added;

/* What a code point is: PB_SPACE and PB_REGEX_SPACE are white space to Rust and to its regular expressions, PB_BLANK,
   PB_LETTER and PB_NUMBER are classes of the expression that splits texts for byte-level BPE. PB_HANGUL syllables are
   decomposed by arithmetic, and spaces are put around what is PB_APART. */
enum {
  PB_SPACE = 1,
  PB_PUNCTUATION = 2,
  PB_LETTER = 4,
  PB_NUMBER = 8,
  PB_BLANK = 16,
  PB_WORD_CHARACTER = 32,
  PB_REGEX_SPACE = 64,
  PB_HANGUL = 128,
  PB_APART = 256
};

/* `rank` orders marks that combine, 0 is what they combine with; `cluster` is how the code point joins its neighbours;
   `pieces` is 1 + where in PB_PIECES stands what becomes of it, 0 where it stays. */
typedef struct {
  uint16_t flags;
  uint8_t rank;
  uint8_t cluster;
  uint32_t pieces;
} pb_record;

typedef struct {
  uint32_t left;
  uint32_t right;
  uint32_t result;
} pb_merge;

enum { PB_CHARSMAP = 1, PB_STRIP = 2, PB_JOIN_SPACES = 3 };

/* A step of normalising: PB_CHARSMAP, PB_STRIP (`first` left, `second` right), or PB_JOIN_SPACES, which replaces two
   spaces and more by the bytes [first, second) of PB_STEP_TEXT. */
typedef struct {
  int32_t what;
  int32_t first;
  int32_t second;
} pb_step_of_text;

#define PB_BLOCK_COUNT (0x110000 / 128)

struct pb_tokenizer {
  pb_settings settings;
  uint32_t kind;
  const pb_slot *slots;
  const pb_added *added;
  const unsigned char *added_text;
  uint32_t added_begin[2][257]; /* by set and first byte: where its added tokens begin */
  const uint16_t *blocks;
  const uint16_t *characters;
  const pb_record *records;
  const unsigned char *pieces;
  const uint32_t *word_ends;
  const unsigned char *word_text;
  const uint32_t *word_slots;
  uint32_t word_count;
  uint32_t word_mask;
  const double *scores;
  const uint32_t *byte_ids;
  const pb_merge *merges;
  const uint32_t *merge_slots;
  uint32_t merge_mask;
  const pb_step_of_text *steps;
  size_t step_count;
  const unsigned char *step_text;
  const uint32_t *trie;
  size_t trie_count;
  const unsigned char *charsmap_text;
  size_t charsmap_bytes;
};

#define PB_NO_WORD UINT32_MAX
#define PB_HASH_START 2166136261u

/* FNV-1a, byte by byte, so that all beginnings of a word are hashed at the cost of one. */
static inline uint32_t pb_hash_byte(uint32_t state, unsigned char byte) { return (state ^ byte) * 16777619u; }

static inline const pb_record *pb_record_of(const pb_tokenizer *tokenizer, uint32_t code_point) {
  uint32_t block = tokenizer->blocks[code_point >> 7];
  return &tokenizer->records[tokenizer->characters[block << 7 | (code_point & 127)]];
}

/* The id of a word by its text, in two parts, and the hash's state after them; PB_NO_WORD where it is none. */
uint32_t pb_find_word(const pb_tokenizer *tokenizer, uint32_t state, const char *prefix, size_t prefix_bytes,
                      const unsigned char *bytes, size_t count);

/* The rank of a merge of two symbols, PB_NO_WORD where they are not merged. */
uint32_t pb_find_merge(const pb_tokenizer *tokenizer, uint32_t left, uint32_t right);

/* Tokens of a part that is normalised and holds no added token, by kind; they are appended to the scratch's. */
void pb_word_pieces(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part);
void pb_byte_pairs(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part);
void pb_unigrams(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part);

/* A part, normalised into `scratch->normal`. */
void pb_normalise_bert(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part);
void pb_normalise_steps(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part part);

/* Replaces characters as SentencePiece's table says: `from` into `to`. */
void pb_apply_charsmap(const pb_tokenizer *tokenizer, pb_scratch *scratch, pb_part from, pb_text *to);

/* The next added token of a set (PB_NORMALISED or not) in a part, which covers bytes [*start, *stop) there; NULL where
   there is none. `*at` is where to look, `from` is where the last one stopped. */
const pb_added *pb_next_added(const pb_tokenizer *tokenizer, int normalised, pb_part part, size_t *at, size_t from,
                              size_t *start, size_t *stop);
#endif
