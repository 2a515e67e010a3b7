/* UTF-8 as Unicode has it: no surrogates, nothing overlong, nothing beyond U+10FFFF. */
#ifndef PB_UTF8_H
#define PB_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* How many bytes the character that begins at `at` takes, of `left`; 0 where none begins. */
static inline size_t pb_valid_bytes(const unsigned char *at, size_t left) {
  if (at[0] < 0x80) return 1;
  size_t bytes = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
  if (!bytes || bytes > left) return 0;
  for (size_t i = 1; i < bytes; i++)
    if ((at[i] & 0xC0) != 0x80) return 0;
  if (at[0] == 0xE0 && at[1] < 0xA0) return 0;
  if (at[0] == 0xED && at[1] >= 0xA0) return 0;
  if (at[0] == 0xF0 && at[1] < 0x90) return 0;
  if (at[0] == 0xF4 && at[1] >= 0x90) return 0;
  return bytes;
}

/* How many bytes of `count` are whole characters before the first that is wrong; `count` where all are right. */
static inline size_t pb_valid_prefix(const unsigned char *bytes, size_t count) {
  size_t at = 0;
  while (at < count) {
    size_t taken = pb_valid_bytes(bytes + at, count - at);
    if (!taken) break;
    at += taken;
  }
  return at;
}

/* Of valid UTF-8: how many bytes the character takes that begins with this one. */
static inline size_t pb_character_bytes(unsigned char first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Of valid UTF-8: whether a character begins with this byte. */
static inline int pb_begins(unsigned char byte) { return (byte & 0xC0) != 0x80; }

/* Of valid UTF-8: the code point that begins at `at`. */
static inline uint32_t pb_code_point(const unsigned char *at) {
  switch (pb_character_bytes(at[0])) {
  case 1: return at[0];
  case 2: return (uint32_t)(at[0] & 0x1F) << 6 | (uint32_t)(at[1] & 0x3F);
  case 3: return (uint32_t)(at[0] & 0x0F) << 12 | (uint32_t)(at[1] & 0x3F) << 6 | (uint32_t)(at[2] & 0x3F);
  default:
    return (uint32_t)(at[0] & 0x07) << 18 | (uint32_t)(at[1] & 0x3F) << 12 | (uint32_t)(at[2] & 0x3F) << 6 |
           (uint32_t)(at[3] & 0x3F);
  }
}
#endif
