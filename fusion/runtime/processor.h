/* Whether this processor runs the kernels. The runtime itself is compiled for every processor of its machine, so that
   the question can be asked before any instruction that may be missing. */
#ifndef POCKETBERT_PROCESSOR_H
#define POCKETBERT_PROCESSOR_H
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* What the kernels were compiled for, and the instruction sets that this may use, by Linux's names (fusion/target.py). */
#ifndef PB_NEEDS
#define PB_TARGET "this machine"
#define PB_NEEDS ""
#endif

#if defined(__x86_64__)
#include <cpuid.h>

enum { PB_EAX, PB_EBX, PB_ECX };
/* XCR0: the registers that the system saves for each program; without them an instruction set is as good as missing. */
enum { PB_ANY = 0, PB_YMM = 0x6, PB_ZMM = 0xe6 };

/* Where cpuid tells of an instruction set, and the registers that it needs saved. */
typedef struct {
  const char *name;
  unsigned leaf;
  int word, bit;
  unsigned saved, subleaf;
} pb_feature;

static const pb_feature pb_features[] = {
    {"pni", 1, PB_ECX, 0, PB_ANY},          {"ssse3", 1, PB_ECX, 9, PB_ANY},
    {"fma", 1, PB_ECX, 12, PB_YMM},         {"cx16", 1, PB_ECX, 13, PB_ANY},
    {"sse4_1", 1, PB_ECX, 19, PB_ANY},      {"sse4_2", 1, PB_ECX, 20, PB_ANY},
    {"movbe", 1, PB_ECX, 22, PB_ANY},       {"popcnt", 1, PB_ECX, 23, PB_ANY},
    {"xsave", 1, PB_ECX, 27, PB_ANY}, /* OSXSAVE: the system uses it, too */
    {"avx", 1, PB_ECX, 28, PB_YMM},         {"f16c", 1, PB_ECX, 29, PB_YMM},
    {"bmi1", 7, PB_EBX, 3, PB_ANY},         {"avx2", 7, PB_EBX, 5, PB_YMM},
    {"bmi2", 7, PB_EBX, 8, PB_ANY},         {"avx512f", 7, PB_EBX, 16, PB_ZMM},
    {"avx512dq", 7, PB_EBX, 17, PB_ZMM},    {"avx512cd", 7, PB_EBX, 28, PB_ZMM},
    {"avx512bw", 7, PB_EBX, 30, PB_ZMM},    {"avx512vl", 7, PB_EBX, 31, PB_ZMM},
    {"avx512_vnni", 7, PB_ECX, 11, PB_ZMM}, {"avx_vnni", 7, PB_EAX, 4, PB_YMM, 1},
    {"lahf_lm", 0x80000001, PB_ECX, 0, PB_ANY}, {"abm", 0x80000001, PB_ECX, 5, PB_ANY},
};

static int pb_cpuid_bit(unsigned leaf, unsigned subleaf, int word, int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(leaf, 0, &a, &b, &c, &d)) return 0;
  if (subleaf && (a < subleaf || !__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d))) return 0;
  return (word == PB_EAX ? a : word == PB_EBX ? b : c) >> bit & 1;
}

static unsigned pb_saved_registers(void) {
  unsigned low = 0, high = 0;
  if (pb_cpuid_bit(1, 0, PB_ECX, 27)) __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static int pb_has(const pb_feature *feature) {
  return pb_cpuid_bit(feature->leaf, feature->subleaf, feature->word, feature->bit) &&
         (pb_saved_registers() & feature->saved) == feature->saved;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

typedef struct {
  const char *name;
  unsigned long word;
  int bit;
} pb_feature;

static const pb_feature pb_features[] = {
    {"fp", AT_HWCAP, 0},       {"asimd", AT_HWCAP, 1},    {"atomics", AT_HWCAP, 8},
    {"asimdhp", AT_HWCAP, 10}, {"asimddp", AT_HWCAP, 20}, {"i8mm", AT_HWCAP2, 13},
};

static int pb_has(const pb_feature *feature) { return getauxval(feature->word) >> feature->bit & 1; }
#endif

static int pb_has_named(const char *name, size_t length) {
  for (size_t i = 0; i < sizeof pb_features / sizeof *pb_features; i++)
    if (strlen(pb_features[i].name) == length && !strncmp(pb_features[i].name, name, length))
      return pb_has(&pb_features[i]);
  return 0;
}

/* Writes one line about what is missing; 0 where nothing is. */
static int pb_processor_lacks(char *error, size_t size) {
  char lacks[256] = "";
  for (const char *name = PB_NEEDS; *name;) {
    size_t length = strcspn(name, " "), used = strlen(lacks);
    if (!pb_has_named(name, length))
      snprintf(lacks + used, sizeof lacks - used, "%s%.*s", used ? ", " : "", (int)length, name);
    name += length + (name[length] == ' ');
  }
  if (!*lacks) return 0;
  snprintf(error, size, "this processor lacks %s, which code for %s needs: compile it for this machine", lacks, PB_TARGET);
  return 1;
}

#endif
