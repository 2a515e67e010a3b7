/* Texts to tokens from C and C++: what a model's own tokenizer makes of a text, without Python. Link with model.so.

   A tokenizer is read from a table, the file tokenizer.bin beside an exported model, which must be for the same model.
   Threads: any number of threads may use one tokenizer at the same time; nothing in it changes after it is open.
   Memory: the table stays the caller's, must not change, and must be there until the tokenizer is closed; it may be a
   file that is mapped. Texts are UTF-8, of at most 1 GiB, and need not end in NUL: NUL bytes within are text. */
#ifndef POCKETBERT_TEXT_H
#define POCKETBERT_TEXT_H
#include <stddef.h>
#include <stdint.h>

#define PB_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pb_tokenizer pb_tokenizer;

/* Where a token lies: code points `start` to before `end` of the text (`sequence` 0) or of the pair (1). Special tokens
   and padding are in neither: -1, with 0 to 0. */
typedef struct {
  int32_t start;
  int32_t end;
  int32_t sequence;
} pb_span;

/* Opens a tokenizer of a table of so many bytes, which begins at a multiple of 8. NULL on error, with one line in
   `error`, of at most `size` bytes: no such table, another version, not whole, or changed. */
PB_API pb_tokenizer *pb_tokenizer_open(const void *table, size_t bytes, char *error, size_t size);

/* Frees what the tokenizer holds, not the table; NULL is nothing to close. */
PB_API void pb_tokenizer_close(pb_tokenizer *tokenizer);

/* Makes `length` positions of a text, and of a second one (`pair`, or NULL), as the model was trained on them: with
   special tokens, the longest cut first where they do not fit, and padding. `ids` is int64 [length], and so are `types`
   (of the token) and `mask` (1, and 0 at padding); `spans` is [length]. Each but `ids` may be NULL.
   `removed` receives how many tokens were cut; where it is NULL, texts that do not fit are an error.
   Returns how many of the positions are not padding; -1 on error, with one line in `error`: a text is not UTF-8, with
   the place of the first wrong byte, `length` is less than the special tokens need, or there is no memory. */
PB_API int pb_tokenize(const pb_tokenizer *tokenizer, const char *text, size_t text_bytes, const char *pair,
                       size_t pair_bytes, int64_t *ids, int64_t *types, int64_t *mask, pb_span *spans, int length,
                       int *removed, char *error, size_t size);

#ifdef __cplusplus
}
#endif
#endif
