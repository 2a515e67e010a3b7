/* Where weights and tokenizers come from. Files are mapped, so that processes share them; a descriptor stays the caller's,
   and so does the place in its file where the caller reads. */
#define _GNU_SOURCE
#include "source.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PB_MOST_PAGE (1 << 16) /* bytes: mappings begin at multiples of the page, whichever that is */

void pb_tell_place(const pb_source *source, char text[PB_PLACE_BYTES]) {
  if (source->kind == PB_FROM_PATH) snprintf(text, PB_PLACE_BYTES, "%s", source->path);
  else if (source->kind == PB_FROM_DESCRIPTOR) snprintf(text, PB_PLACE_BYTES, "of descriptor %d", source->descriptor);
  else snprintf(text, PB_PLACE_BYTES, "in memory");
}

static int refuse(const pb_wanted *wanted, const char *verb, const char *problem, char *error, size_t size) {
  char place[PB_PLACE_BYTES];
  pb_tell_place(wanted->source, place);
  snprintf(error, size, "cannot %s %s %s: %s", verb, wanted->what, place, problem);
  return 1;
}

/* How many bytes are taken of those that the source has; 0 with one line in `error` where that is none, or others than
   are wanted. */
static size_t length_of(const pb_wanted *wanted, int64_t held, char *error, size_t size) {
  char place[PB_PLACE_BYTES];
  const int right = wanted->count == PB_ALL_BYTES ? held > 0 : held >= 0 && (uint64_t)held == wanted->count;
  if (right) return (size_t)held;
  pb_tell_place(wanted->source, place);
  if (wanted->count == PB_ALL_BYTES) snprintf(error, size, "%s %s have %lld bytes", wanted->what, place, (long long)held);
  else snprintf(error, size, "%s %s have %lld bytes, the program needs %zu", wanted->what, place, (long long)held,
                wanted->count);
  return 0;
}

/* Whether the file has a byte at that offset: -1 with one line in `error` where it cannot be read at all. */
static int has_byte(const pb_wanted *wanted, int file, int64_t offset, char *error, size_t size) {
  char byte;
  const ssize_t got = pread(file, &byte, 1, (off_t)offset);
  if (got < 0) refuse(wanted, "read", strerror(errno), error, size);
  return (int)got;
}

/* Whether the file reaches from the offset on to the last byte: what is mapped beyond its end cannot be read. */
static int check_reach(const pb_wanted *wanted, int file, int64_t offset, size_t count, char *error, size_t size) {
  if (offset < 0 || count > (size_t)INT64_MAX || offset > INT64_MAX - (int64_t)count)
    return refuse(wanted, "read", "there is no such offset", error, size);
  const int reaches = has_byte(wanted, file, offset + (int64_t)count - 1, error, size);
  return reaches ? reaches < 0 : refuse(wanted, "read", "the file ends before they do", error, size);
}

static int map(pb_bytes *bytes, const pb_wanted *wanted, int file, int64_t offset, size_t count, char *error,
               size_t size) {
  const size_t before = (size_t)(offset % PB_MOST_PAGE);
  if (!count || check_reach(wanted, file, offset, count, error, size)) return 1;
  void *mapping = mmap(NULL, before + count, PROT_READ, MAP_PRIVATE, file, (off_t)(offset - (int64_t)before));
  if (mapping == MAP_FAILED) return refuse(wanted, "map", strerror(errno), error, size);
  *bytes = (pb_bytes){(const char *)mapping + before, count, mapping, before + count, NULL};
  return 0;
}

/* Opening does not wait for the other end of a pipe. */
static int map_path(pb_bytes *bytes, const pb_wanted *wanted, char *error, size_t size) {
  const int file = open(wanted->source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return refuse(wanted, "open", strerror(errno), error, size);
  const int failed = has_byte(wanted, file, 0, error, size) < 0 ||
                     map(bytes, wanted, file, 0, length_of(wanted, lseek(file, 0, SEEK_END), error, size), error, size);
  close(file);
  return failed;
}

static int take(pb_bytes *bytes, const pb_wanted *wanted, char *error, size_t size) {
  const pb_source *source = wanted->source;
  if (source && source->kind == PB_FROM_PATH && source->path) return map_path(bytes, wanted, error, size);
  if (source && source->kind == PB_FROM_DESCRIPTOR)
    return map(bytes, wanted, source->descriptor, source->offset, length_of(wanted, source->length, error, size), error,
               size);
  if (source && source->kind == PB_FROM_MEMORY && source->memory) {
    *bytes = (pb_bytes){(const char *)source->memory, length_of(wanted, source->length, error, size), NULL, 0, NULL};
    return !bytes->count;
  }
  snprintf(error, size, "no source of %s: it names no path, descriptor or memory", wanted->what);
  return 1;
}

static int align(pb_bytes *bytes, const pb_wanted *wanted, char *error, size_t size) {
  const size_t count = bytes->count;
  if (!((uintptr_t)bytes->start % wanted->alignment)) return 0;
  char *copy = malloc(count);
  if (copy) memcpy(copy, bytes->start, count);
  else snprintf(error, size, "not enough memory for %zu bytes of %s", count, wanted->what);
  pb_bytes_release(bytes);
  *bytes = (pb_bytes){copy, count, NULL, 0, copy};
  return !copy;
}

int pb_bytes_take(pb_bytes *bytes, const pb_wanted *wanted, char *error, size_t size) {
  *bytes = (pb_bytes){0};
  if (!take(bytes, wanted, error, size) && !align(bytes, wanted, error, size)) return 0;
  *bytes = (pb_bytes){0};
  return 1;
}

void pb_bytes_release(pb_bytes *bytes) {
  if (bytes->mapping) munmap(bytes->mapping, bytes->mapped);
  free(bytes->copy);
  *bytes = (pb_bytes){0};
}
