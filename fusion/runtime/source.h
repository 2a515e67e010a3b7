/* Bytes of a file, of a part of an open one, or of memory, as a caller of the library names them. */
#ifndef POCKETBERT_SOURCE_H
#define POCKETBERT_SOURCE_H
#include "pocketbert.h"

#define PB_PLACE_BYTES 1024 /* of what an error says of a place */

typedef struct {
  const char *start; /* where fp32 numbers may lie: at a multiple of 4 */
  void *mapping;     /* of a file, or NULL */
  size_t mapped;
  char *copy; /* or NULL */
} pb_bytes;

/* Where the weights lie, in a few words for a line about them. */
void pb_tell_place(const pb_source *source, char text[PB_PLACE_BYTES]);

/* Maps the file, or takes the memory as it is; only what lies elsewhere than at a multiple of 4 is copied. There must
   be exactly so many bytes. Returns 0, or 1 with one line in `error` and nothing held. */
int pb_bytes_take(pb_bytes *bytes, const pb_source *source, size_t count, char *error, size_t size);

void pb_bytes_release(pb_bytes *bytes);

#endif
