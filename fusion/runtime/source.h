/* Bytes of a file, of a part of an open one, or of memory, as a caller of the library names them. */
#ifndef POCKETBERT_SOURCE_H
#define POCKETBERT_SOURCE_H
#include "pocketbert.h"

#define PB_PLACE_BYTES 1024 /* of what an error says of a place */
#define PB_ALL_BYTES 0

/* What is wanted of a source: `count` bytes, neither more nor less, or PB_ALL_BYTES that it has, at a multiple of
   `alignment`. `what` they are is told in errors: "the weights". */
typedef struct {
  const char *what;
  const pb_source *source;
  size_t count;
  size_t alignment;
} pb_wanted;

typedef struct {
  const char *start;
  size_t count;
  void *mapping; /* of a file, or NULL */
  size_t mapped;
  char *copy; /* or NULL */
} pb_bytes;

/* Where a source lies, in a few words for a line about it. */
void pb_tell_place(const pb_source *source, char text[PB_PLACE_BYTES]);

/* Maps the file, or takes the memory as it is; only what lies at no multiple of the alignment is copied. Returns 0, or 1
   with one line in `error` and nothing held. */
int pb_bytes_take(pb_bytes *bytes, const pb_wanted *wanted, char *error, size_t size);

void pb_bytes_release(pb_bytes *bytes);

#endif
