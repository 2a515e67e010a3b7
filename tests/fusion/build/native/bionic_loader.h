/* What stands in for Android's loader and C library: it does with a runner, or an app's library, what bionic's loader
   does, refuses what that refuses, and hands out the C library of its own static program (musl) under bionic's names:
   those in names.h, NAME(function) and VARIABLE(name), which the test writes. */
#ifndef BIONIC_LOADER_H
#define BIONIC_LOADER_H
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define LARGE_PAGE 16384ul /* of the machines with the largest */
#define ANDROID_RELR 0x6fffe000
#if defined(__aarch64__)
#define BY_MACHINE(on_arm, on_x86) R_AARCH64_##on_arm
#else
#define BY_MACHINE(on_arm, on_x86) R_X86_64_##on_x86
#endif
enum {
  RELATIVE = BY_MACHINE(RELATIVE, RELATIVE),
  GLOBAL = BY_MACHINE(GLOB_DAT, GLOB_DAT),
  CALLED = BY_MACHINE(JUMP_SLOT, JUMP_SLOT),
  ABSOLUTE = BY_MACHINE(ABS64, 64)
};

/* What is loaded. */
typedef struct {
  const char *name;
  char *base;
  const Elf64_Phdr *segments;
  int count;
  const Elf64_Sym *symbols;
  const char *strings;
  const uint32_t *hash;
} image;

static char message[512];

static int refuse(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(message, sizeof message, format, values);
  va_end(values);
  return 1;
}

static int *bionic_errno(void) { return &errno; }

static _Noreturn void bionic_start(void *arguments, void (*at_exit)(void), int (*run)(int, char **, char **),
                                   void *const arrays[6]) {
  long *words = arguments;
  char **argv = (char **)(words + 1), **environment = argv + words[0] + 1;
  (void)at_exit;
  if (arrays[2]) abort(); /* a runner has nothing to do at its end */
  exit(run((int)words[0], argv, environment));
}

static void *load(const char *path, int flags);
static void *find(void *handle, const char *name);
static int unload(void *handle) { return !handle; }
static char *tell(void) { return message; }

static void *address_of(const char *name) {
#define __errno bionic_errno
#define __libc_init bionic_start
#define dlopen load
#define dlsym find
#define dlclose unload
#define dlerror tell
#define NAME(function) {#function, (void *)function},
#define VARIABLE(variable) {#variable, (void *)&variable},
  static const struct {
    const char *name;
    void *address;
  } known[] = {
#include "names.h"
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(known[i].name, name)) return known[i].address;
  return NULL;
}

static const char *const LIBRARIES[] = {"libc.so", "libdl.so", "libm.so"};

static int is_library(const char *name) {
  for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES; i++)
    if (!strcmp(LIBRARIES[i], name)) return 1;
  return 0;
}

/* Segments that bionic refuses, and the one that is looked for. */
static const Elf64_Dyn *check_segments(const image *it) {
  const Elf64_Dyn *dynamic = NULL;
  for (int i = 0; i < it->count; i++) {
    const Elf64_Phdr *s = &it->segments[i];
    if (s->p_type == PT_TLS) return refuse("%s has a thread-local segment", it->name), NULL;
    if (s->p_type == PT_LOAD && s->p_flags & PF_W && s->p_flags & PF_X)
      return refuse("%s has a segment that is writable and executable", it->name), NULL;
    if (s->p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(it->base + s->p_vaddr);
  }
  if (!dynamic) refuse("%s has no dynamic segment", it->name);
  return dynamic;
}

static int relocate(const image *it, const Elf64_Rela *first, size_t bytes) {
  for (size_t i = 0; i < bytes / sizeof *first; i++) {
    const Elf64_Rela *r = &first[i];
    const Elf64_Sym *symbol = &it->symbols[ELF64_R_SYM(r->r_info)];
    const char *name = it->strings + symbol->st_name;
    uint64_t *place = (uint64_t *)(it->base + r->r_offset), value = 0;
    if (ELF64_R_SYM(r->r_info)) {
      value = symbol->st_shndx ? (uint64_t)it->base + symbol->st_value : (uint64_t)address_of(name);
      if (!value) return refuse("cannot locate symbol \"%s\" referenced by %s", name, it->name);
    }
    switch (ELF64_R_TYPE(r->r_info)) {
      case RELATIVE: *place = (uint64_t)it->base + (uint64_t)r->r_addend; break;
      case GLOBAL:
      case CALLED:
      case ABSOLUTE: *place = value + (uint64_t)r->r_addend; break;
      default: return refuse("%s has a relocation of type %d", it->name, (int)ELF64_R_TYPE(r->r_info));
    }
  }
  return 0;
}

/* What relocation alone may write becomes read-only, to the end of the largest page. */
static int protect(const image *it) {
  for (int i = 0; i < it->count; i++) {
    const Elf64_Phdr *s = &it->segments[i];
    if (s->p_type != PT_GNU_RELRO) continue;
    const uint64_t from = s->p_vaddr & ~(PAGE - 1), to = (s->p_vaddr + s->p_memsz + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    if (mprotect(it->base + from, to - from, PROT_READ)) return refuse("%s: %s", it->name, strerror(errno));
  }
  return 0;
}

/* Symbols, libraries and relocations of what lies in memory. */
static int link_image(image *it) {
  const Elf64_Dyn *dynamic = check_segments(it);
  uint64_t value[64] = {0};
  if (!dynamic) return 1;
  for (const Elf64_Dyn *d = dynamic; d->d_tag; d++) {
    if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
      return refuse("%s has text relocations", it->name);
    if (d->d_tag == 36 || d->d_tag == ANDROID_RELR) return refuse("%s has RELR relocations", it->name);
    if (d->d_tag < 64) value[d->d_tag] = d->d_un.d_val;
  }
  if (!value[DT_HASH]) return refuse("%s has no hash table", it->name);
  it->symbols = (const Elf64_Sym *)(it->base + value[DT_SYMTAB]);
  it->strings = it->base + value[DT_STRTAB];
  it->hash = (const uint32_t *)(it->base + value[DT_HASH]);
  for (const Elf64_Dyn *d = dynamic; d->d_tag; d++)
    if (d->d_tag == DT_NEEDED && !is_library(it->strings + d->d_un.d_val))
      return refuse("library \"%s\" not found: needed by %s", it->strings + d->d_un.d_val, it->name);
  if (relocate(it, (const Elf64_Rela *)(it->base + value[DT_RELA]), value[DT_RELASZ]) ||
      relocate(it, (const Elf64_Rela *)(it->base + value[DT_JMPREL]), value[DT_PLTRELSZ]))
    return 1;
  return protect(it);
}

static uint64_t span_of(const image *it) {
  uint64_t end = 0;
  for (int i = 0; i < it->count; i++)
    if (it->segments[i].p_type == PT_LOAD && it->segments[i].p_vaddr + it->segments[i].p_memsz > end)
      end = it->segments[i].p_vaddr + it->segments[i].p_memsz;
  return (end + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
}

/* A library, of a driver or an app: read whole, linked, then protected as its segments say. */
static void *load(const char *path, int flags) {
  const int file = strchr(path, '/') ? open(path, O_RDONLY) : -1;
  struct stat state;
  (void)flags;
  if (file < 0 || fstat(file, &state)) return refuse("library \"%s\" not found", path), NULL;
  const Elf64_Ehdr *head = mmap(NULL, (size_t)state.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  image *it = calloc(1, sizeof *it);
  it->name = strdup(path);
  it->segments = (const Elf64_Phdr *)((const char *)head + head->e_phoff);
  it->count = head->e_phnum;
  it->base = mmap(NULL, span_of(it), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < it->count; i++)
    if (it->segments[i].p_type == PT_LOAD)
      memcpy(it->base + it->segments[i].p_vaddr, (const char *)head + it->segments[i].p_offset,
             it->segments[i].p_filesz);
  close(file);
  if (link_image(it)) return NULL;
  for (int i = 0; i < it->count; i++) {
    const Elf64_Phdr *s = &it->segments[i];
    const uint64_t from = s->p_vaddr & ~(PAGE - 1);
    if (s->p_type == PT_LOAD && s->p_flags & PF_X)
      mprotect(it->base + from, s->p_vaddr + s->p_memsz - from, PROT_READ | PROT_EXEC);
  }
  return it;
}

static void *find(void *handle, const char *name) {
  const image *it = handle;
  for (uint32_t i = 1; i < it->hash[1]; i++)
    if (it->symbols[i].st_shndx && !strcmp(it->strings + it->symbols[i].st_name, name))
      return it->base + it->symbols[i].st_value;
  return NULL;
}

#endif
