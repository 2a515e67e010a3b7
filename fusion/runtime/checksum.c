/* CRC-32 by tables of what eight bytes, each at its distance from the end, add to the remainder. */
#include "checksum.h"

#define PB_POLYNOMIAL 0xedb88320u
#define PB_SLICE 8

typedef uint32_t tables[PB_SLICE][256];

/* Made for each call, in microseconds: nothing global is written. */
static void make_tables(tables t) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t state = byte;
    for (int bit = 0; bit < 8; bit++) state = state >> 1 ^ (state & 1 ? PB_POLYNOMIAL : 0);
    t[0][byte] = state;
  }
  for (int i = 1; i < PB_SLICE; i++)
    for (int byte = 0; byte < 256; byte++) t[i][byte] = t[i - 1][byte] >> 8 ^ t[0][t[i - 1][byte] & 0xff];
}

static uint32_t slice(const tables t, uint32_t state, const unsigned char *at) {
  uint32_t next = 0;
  for (int i = 0; i < PB_SLICE; i++) {
    const uint32_t byte = at[i] ^ (i < 4 ? state >> 8 * i & 0xff : 0);
    next ^= t[PB_SLICE - 1 - i][byte];
  }
  return next;
}

uint32_t pb_checksum(const char *bytes, size_t count) {
  tables t;
  const unsigned char *at = (const unsigned char *)bytes, *end = at + count;
  uint32_t state = 0xffffffffu;
  make_tables(t);
  for (; end - at >= PB_SLICE; at += PB_SLICE) state = slice((const uint32_t(*)[256])t, state, at);
  for (; at < end; at++) state = state >> 8 ^ t[0][(state ^ *at) & 0xff];
  return ~state;
}
