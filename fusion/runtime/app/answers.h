/* What the compiler knows of a model's answers; a unit that is generated for each library holds it. */
#ifndef POCKETBERT_ANSWERS_H
#define POCKETBERT_ANSWERS_H
#include "pocketbert_app.h"

enum { PB_AS_IT_IS, PB_SOFTMAX, PB_SIGMOID };

/* `output` is the program's output that is read, of which a row has a number for each of the labels or of a vector;
   `function` makes scores of them. `java_class` is the class that app/java.c brings its methods to. */
typedef struct {
  const char *program;
  int kind;
  int output;
  int function;
  int label_count;
  const char *const *labels;
  const char *java_class;
} pb_answers;

extern const pb_answers pb_model_answers;

#endif
