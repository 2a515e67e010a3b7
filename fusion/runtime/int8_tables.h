/* Rows of tables that are looked up, as bytes with a scale a row. */
#ifndef POCKETBERT_INT8_TABLES_H
#define POCKETBERT_INT8_TABLES_H
#include "block.h"

typedef signed char pb_table_bytes __attribute__((vector_size(PB_LANES), aligned(1), may_alias));

/* PB_LANES numbers of a row, without its scale. */
PB_INLINE pb_vec pb_load_table(const signed char *p) {
  return __builtin_convertvector(*(const pb_table_bytes *)p, pb_vec);
}

/* The row that position r of the ids looks up, or zeros where there is no such position. */
PB_INLINE void pb_copy_table_neighbour(const signed char *table, const float *scales, const int *ids, const int r,
                                       const int rows, const int stride, float *out, const int columns) {
  const int known = r >= 0 && r < rows;
  const signed char *entry = known ? table + (long)ids[r] * stride : 0;
  for (int n = 0; n < columns; n++) out[n] = known ? entry[n] * scales[ids[r]] : 0.0f;
}

#endif
