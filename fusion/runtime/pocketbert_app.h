/* Text in, answer out, from C and C++: what an app calls. Link with the library of a model that was exported with its
   tokenizer.

   A model answers in one way, which its header says: labels of a text, or of two; entities within a text; or a vector.
   Threads: any thread may ask; calls on one model take turns in its program, not in its tokenizer.
   Texts are UTF-8, `pair` is NULL where there is one text; NUL bytes within are text. A text that has more tokens than the
   model takes is cut, the longest of two first, and `removed` receives how many tokens were; where it is NULL, such a text
   is an error instead.
   Errors: one line in `error`, of at most `size` bytes; nothing is written anywhere else. */
#ifndef POCKETBERT_APP_H
#define POCKETBERT_APP_H
#include "pocketbert.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pb_text_model pb_text_model;

/* How a model answers. */
enum { PB_CLASSIFIES = 1, PB_FINDS_ENTITIES, PB_EMBEDS };

/* A label and its probability; of a model that was trained to give a number, that number. */
typedef struct {
  const char *name;
  int index;
  float score;
} pb_label;

/* An entity: code points `start` to before `end` of the text. `name` is what stands behind the first hyphen of its first
   token's label, or all of that, and `label` the label's index; the score is the mean of its tokens' probabilities. */
typedef struct {
  const char *name;
  int label;
  float score;
  int32_t start;
  int32_t end;
} pb_entity;

/* Opens the library's model with its weights and its tokenizer's table. `threads` and `kernels` are those of
   pb_open_from. The tokenizer's memory, where it is the caller's, is read until pb_text_close. NULL on error. */
PB_API pb_text_model *pb_text_open(const pb_source *weights, const pb_source *tokenizer, int threads,
                                   const char *kernels, char *error, size_t size);

/* One of the three above. */
PB_API int pb_answer_kind(const pb_text_model *model);

/* How many labels there are, how many entities a text can have at most, or how many numbers a vector has. */
PB_API int pb_answer_size(const pb_text_model *model);

/* The name of a label, from 0 on; NULL beyond the last. */
PB_API const char *pb_label_name(const pb_text_model *model, int index);

/* The `count` labels that are the most probable, the best first; of equal ones the first. Returns how many were filled,
   which is less where there are no more; -1 on error. */
PB_API int pb_classify(pb_text_model *model, const char *text, size_t text_bytes, const char *pair, size_t pair_bytes,
                       pb_label *labels, int count, int *removed, char *error, size_t size);

/* The entities of a text in their order: neighbouring tokens of one label (B-NAME begins anew, I-NAME and NAME go on)
   are one; label O is none. Returns how many there are, of which the first `count` are filled; -1 on error. */
PB_API int pb_find_entities(pb_text_model *model, const char *text, size_t text_bytes, pb_entity *entities, int count,
                            int *removed, char *error, size_t size);

/* The vector of a text, `count` numbers, which must be pb_answer_size. Returns 0; -1 on error. */
PB_API int pb_embed(pb_text_model *model, const char *text, size_t text_bytes, const char *pair, size_t pair_bytes,
                    float *vector, int count, int *removed, char *error, size_t size);

/* Frees all that the model holds, once no call is under way; NULL is nothing to close. */
PB_API void pb_text_close(pb_text_model *model);

#ifdef __cplusplus
}
#endif
#endif
