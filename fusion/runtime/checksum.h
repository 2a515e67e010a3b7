/* The CRC-32 of zlib and of IEEE 802.3, eight bytes at a time. */
#ifndef POCKETBERT_CHECKSUM_H
#define POCKETBERT_CHECKSUM_H
#include <stddef.h>
#include <stdint.h>

uint32_t pb_checksum(const char *bytes, size_t count);

#endif
