/* The methods of NativeModel.java: arrays of bytes in, arrays of numbers out. Texts are UTF-8, handles are pointers. */
#include "app/answers.h"
#include "app/java.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BYTES 1024

/* Java takes lines in a UTF-8 of its own; what is the same in both is kept. */
static void throw_line(pb_java *java, const char *class_, char *line) {
  for (char *c = line; *c; c++)
    if ((unsigned char)*c >= 0x80) *c = '?';
  pb_object found = (*java)->find_class(java, class_);
  if (found) (*java)->throw_new(java, found, line);
}

static void throw_unanswered(pb_java *java, char *line) { throw_line(java, "java/lang/IllegalArgumentException", line); }

/* An array's bytes and a NUL behind them, in memory to be freed; NULL, with an exception, where there is none. */
static char *bytes_of(pb_java *java, pb_object array, size_t *count) {
  char line[] = "not enough memory for a text";
  *count = (size_t)(*java)->array_length(java, array);
  char *bytes = malloc(*count + 1);
  if (!bytes) {
    throw_line(java, "java/lang/OutOfMemoryError", line);
    return NULL;
  }
  (*java)->get_bytes(java, array, 0, (pb_java_int)*count, (pb_java_byte *)bytes);
  bytes[*count] = 0;
  return bytes;
}

/* A text, and perhaps a second. */
typedef struct {
  char *text, *pair;
  size_t text_bytes, pair_bytes;
} texts;

static void free_texts(texts *t) {
  free(t->text);
  free(t->pair);
}

static int take_texts(pb_java *java, pb_object text, pb_object pair, texts *t) {
  *t = (texts){0};
  t->text = bytes_of(java, text, &t->text_bytes);
  if (t->text && pair) t->pair = bytes_of(java, pair, &t->pair_bytes);
  if (t->text && (!pair || t->pair)) return 0;
  free_texts(t);
  return 1;
}

/* An object of Java's that is given back, or NULL with an exception that is under way. */
static pb_object doubles(pb_java *java, const double *values, int count) {
  pb_object array = (*java)->new_doubles(java, count);
  if (array) (*java)->set_doubles(java, array, 0, count, values);
  return array;
}

static void tell_removed(pb_java *java, pb_object array, int removed) {
  const pb_java_int value = removed;
  (*java)->set_ints(java, array, 0, 1, &value);
}

static pb_java_long open_model(pb_java *java, const pb_source *weights, const pb_source *tokenizer, int threads,
                               pb_object kernels) {
  char error[ERROR_BYTES];
  size_t length;
  char *folder = kernels ? bytes_of(java, kernels, &length) : NULL;
  if (kernels && !folder) return 0;
  pb_text_model *model = pb_text_open(weights, tokenizer, threads, folder, error, sizeof error);
  if (!model) throw_line(java, "java/io/IOException", error);
  free(folder);
  return (pb_java_long)(intptr_t)model;
}

static pb_java_long open_assets(pb_java *java, pb_object class_, pb_java_int weights, pb_java_long weights_offset,
                                pb_java_long weights_length, pb_java_int tokenizer, pb_java_long tokenizer_offset,
                                pb_java_long tokenizer_length, pb_java_int threads, pb_object kernels) {
  const pb_source first = {PB_FROM_DESCRIPTOR, NULL, weights, weights_offset, NULL, weights_length};
  const pb_source second = {PB_FROM_DESCRIPTOR, NULL, tokenizer, tokenizer_offset, NULL, tokenizer_length};
  (void)class_;
  return open_model(java, &first, &second, threads, kernels);
}

static pb_java_long open_files(pb_java *java, pb_object class_, pb_object weights, pb_object tokenizer,
                               pb_java_int threads, pb_object kernels) {
  texts paths;
  (void)class_;
  if (take_texts(java, weights, tokenizer, &paths)) return 0;
  const pb_source first = {.kind = PB_FROM_PATH, .path = paths.text}, second = {.kind = PB_FROM_PATH, .path = paths.pair};
  const pb_java_long model = open_model(java, &first, &second, threads, kernels);
  free_texts(&paths);
  return model;
}

static pb_text_model *model_of(pb_java_long handle) { return (pb_text_model *)(intptr_t)handle; }

static pb_java_int kind_of(pb_java *java, pb_object class_, pb_java_long handle) {
  (void)java, (void)class_;
  return pb_answer_kind(model_of(handle));
}

static pb_object label_of(pb_java *java, pb_object class_, pb_java_long handle, pb_java_int index) {
  const char *name = pb_label_name(model_of(handle), index);
  (void)class_;
  if (!name) return NULL;
  const pb_java_int length = (pb_java_int)strlen(name);
  pb_object array = (*java)->new_bytes(java, length);
  if (array) (*java)->set_bytes(java, array, 0, length, (const pb_java_byte *)name);
  return array;
}

/* Memory for so many of something, or NULL with an exception. */
static void *room(pb_java *java, int count, size_t size) {
  char line[] = "not enough memory for an answer";
  void *memory = malloc((size_t)(count ? count : 1) * size);
  if (!memory) throw_line(java, "java/lang/OutOfMemoryError", line);
  return memory;
}

/* [index, score] of each label, the best first. */
static pb_object labels_of(pb_java *java, pb_text_model *model, const texts *t, pb_object removed) {
  char error[ERROR_BYTES];
  int cut = 0;
  const int count = pb_answer_kind(model) == PB_CLASSIFIES ? pb_answer_size(model) : 0;
  pb_label *labels = room(java, count, sizeof *labels);
  double *values = labels ? room(java, 2 * count, sizeof *values) : NULL;
  pb_object made = NULL;
  if (values && pb_classify(model, t->text, t->text_bytes, t->pair, t->pair_bytes, labels, count, &cut, error,
                            sizeof error) < 0)
    throw_unanswered(java, error);
  else if (values) {
    for (int i = 0; i < count; i++) {
      values[2 * i] = labels[i].index;
      values[2 * i + 1] = labels[i].score;
    }
    tell_removed(java, removed, cut);
    made = doubles(java, values, 2 * count);
  }
  free(values);
  free(labels);
  return made;
}

/* [label, score, start, end] of each entity. */
static pb_object entities_of(pb_java *java, pb_text_model *model, const texts *t, pb_object removed) {
  char error[ERROR_BYTES];
  int cut = 0, found = 0;
  const int most = pb_answer_kind(model) == PB_FINDS_ENTITIES ? pb_answer_size(model) : 0;
  pb_entity *entities = room(java, most, sizeof *entities);
  double *values = entities ? room(java, 4 * most, sizeof *values) : NULL;
  pb_object made = NULL;
  if (values && (found = pb_find_entities(model, t->text, t->text_bytes, entities, most, &cut, error, sizeof error)) < 0)
    throw_unanswered(java, error);
  else if (values) {
    for (int i = 0; i < found; i++) {
      const double row[] = {entities[i].label, entities[i].score, entities[i].start, entities[i].end};
      memcpy(values + 4 * i, row, sizeof row);
    }
    tell_removed(java, removed, cut);
    made = doubles(java, values, 4 * found);
  }
  free(values);
  free(entities);
  return made;
}

static pb_object vector_of(pb_java *java, pb_text_model *model, const texts *t, pb_object removed) {
  char error[ERROR_BYTES];
  int cut = 0;
  const int count = pb_answer_size(model);
  float *vector = room(java, count, sizeof *vector);
  pb_object made = NULL;
  if (vector && pb_embed(model, t->text, t->text_bytes, t->pair, t->pair_bytes, vector, count, &cut, error, sizeof error))
    throw_unanswered(java, error);
  else if (vector) {
    tell_removed(java, removed, cut);
    made = (*java)->new_floats(java, count);
    if (made) (*java)->set_floats(java, made, 0, count, vector);
  }
  free(vector);
  return made;
}

typedef pb_object (*answerer)(pb_java *java, pb_text_model *model, const texts *t, pb_object removed);

static pb_object ask(pb_java *java, answerer answer, pb_java_long handle, pb_object text, pb_object pair,
                     pb_object removed) {
  texts t;
  if (take_texts(java, text, pair, &t)) return NULL;
  pb_object made = answer(java, model_of(handle), &t, removed);
  free_texts(&t);
  return made;
}

static pb_object classify(pb_java *java, pb_object class_, pb_java_long handle, pb_object text, pb_object pair,
                          pb_object removed) {
  (void)class_;
  return ask(java, labels_of, handle, text, pair, removed);
}

static pb_object find_entities(pb_java *java, pb_object class_, pb_java_long handle, pb_object text, pb_object removed) {
  (void)class_;
  return ask(java, entities_of, handle, text, NULL, removed);
}

static pb_object embed(pb_java *java, pb_object class_, pb_java_long handle, pb_object text, pb_object pair,
                       pb_object removed) {
  (void)class_;
  return ask(java, vector_of, handle, text, pair, removed);
}

static void close_model(pb_java *java, pb_object class_, pb_java_long handle) {
  (void)java, (void)class_;
  pb_text_close(model_of(handle));
}

static const pb_java_method METHODS[] = {
    {"openAssets", "(IJJIJJI[B)J", (void *)open_assets},
    {"openFiles", "([B[BI[B)J", (void *)open_files},
    {"kind", "(J)I", (void *)kind_of},
    {"label", "(JI)[B", (void *)label_of},
    {"classify", "(J[B[B[I)[D", (void *)classify},
    {"findEntities", "(J[B[I)[D", (void *)find_entities},
    {"embed", "(J[B[B[I)[F", (void *)embed},
    {"close", "(J)V", (void *)close_model},
};

/* Called once, when the class loads the library. */
PB_API pb_java_int JNI_OnLoad(pb_java_machine *machine, void *reserved) {
  pb_java *java = NULL;
  (void)reserved;
  if ((*machine)->get_environment(machine, (void **)&java, PB_JAVA_1_6)) return -1;
  pb_object class_ = (*java)->find_class(java, pb_model_answers.java_class);
  if (!class_) return -1;
  return (*java)->register_natives(java, class_, METHODS, sizeof METHODS / sizeof *METHODS) ? -1 : PB_JAVA_1_6;
}
