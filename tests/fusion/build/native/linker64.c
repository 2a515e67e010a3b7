/* Stands in for Android's loader, so that a runner for Android runs to its end under qemu. */
#include "bionic_loader.h"

int main(int count, char **words) {
  image runner = {.name = words[0], .count = (int)getauxval(AT_PHNUM)};
  runner.segments = (const Elf64_Phdr *)getauxval(AT_PHDR);
  (void)count;
  for (int i = 0; i < runner.count; i++)
    if (runner.segments[i].p_type == PT_PHDR) runner.base = (char *)runner.segments - runner.segments[i].p_vaddr;
  if (link_image(&runner)) {
    fprintf(stderr, "CANNOT LINK EXECUTABLE \"%s\": %s\n", runner.name, message);
    return 127;
  }
  message[0] = 0;
  __asm__ volatile("mov sp, %0\n"
                   "br %1\n" ::"r"((long *)words - 1),
                   "r"(getauxval(AT_ENTRY)));
  __builtin_unreachable();
}
