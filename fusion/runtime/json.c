/* JSON as RFC 8259 has it: strings escaped, numbers finite. */
#include "runner.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

void pb_print_string(const char *text) {
  putchar('"');
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    if (*c == '"' || *c == '\\') printf("\\%c", *c);
    else if (*c < ' ') printf("\\u%04x", *c);
    else putchar(*c);
  }
  putchar('"');
}

void pb_print_times(const char *key, const double *values, int count) {
  pb_print_string(key);
  printf(": [");
  for (int i = 0; i < count; i++) printf("%s%.6f", i ? ", " : "", values[i]);
  printf("], ");
}

static long numbers_of(const pb_port *port) { return (long)port->rows * port->columns; }

static void print_values(const pb_port *port, const float *values) {
  pb_print_string(port->name);
  printf(": [");
  for (long i = 0; i < numbers_of(port); i++) {
    printf("%s", i ? ", " : "");
    if (isfinite(values[i])) printf("%.9g", values[i]);
    else printf("null");
  }
  printf("]");
}

typedef struct {
  const char *key;
  int sign; /* of an infinity; 0 is not a number */
} kind;

static int is_kind(float value, kind wanted) {
  return wanted.sign ? isinf(value) && (value > 0) == (wanted.sign > 0) : isnan(value);
}

/* Where the numbers of one kind are, if any: a key with a list of indices. Returns whether it was printed. */
static int print_where(const pb_port *port, const float *values, kind wanted, int follows) {
  int printed = 0;
  for (long i = 0; i < numbers_of(port); i++) {
    if (!is_kind(values[i], wanted)) continue;
    if (printed) printf(", %ld", i);
    else printf("%s\"%s\": [%ld", follows ? ", " : "", wanted.key, i);
    printed = 1;
  }
  if (printed) printf("]");
  return printed;
}

static int all_finite(const pb_port *port, const float *values) {
  for (long i = 0; i < numbers_of(port); i++)
    if (!isfinite(values[i])) return 0;
  return 1;
}

static void print_non_finite(const pb_port *port, const float *values) {
  static const kind kinds[] = {{"nan", 0}, {"inf", 1}, {"-inf", -1}};
  pb_print_string(port->name);
  printf(": {");
  for (int k = 0, follows = 0; k < 3; k++) follows |= print_where(port, values, kinds[k], follows);
  printf("}");
}

/* Whether an output before it has the same name, and so is the same tensor: keys stand once in an object. */
static int is_repeated(const pb_program *p, int output) {
  for (int i = 0; i < output; i++)
    if (!strcmp(p->outputs[i].name, p->outputs[output].name)) return 1;
  return 0;
}

void pb_print_outputs(const pb_program *p, float **outputs) {
  printf("\"outputs\": {");
  for (int i = 0; i < p->output_count; i++) {
    if (is_repeated(p, i)) continue;
    printf("%s", i ? ", " : "");
    print_values(&p->outputs[i], outputs[i]);
  }
  printf("}, \"non_finite\": {");
  for (int i = 0, follows = 0; i < p->output_count; i++) {
    if (is_repeated(p, i) || all_finite(&p->outputs[i], outputs[i])) continue;
    printf("%s", follows ? ", " : "");
    print_non_finite(&p->outputs[i], outputs[i]);
    follows = 1;
  }
  printf("}, ");
}
