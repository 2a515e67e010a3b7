/* Where the runner for Android begins. The NDK's own start routine comes with the NDK only; this is what it does. */
#if !defined(__aarch64__)
#error "the runner for Android is for 64-bit ARM"
#endif

int main(int count, char **words);

/* bionic's: `arguments` is the stack as the kernel made it; `arrays` are those of functions to be run before and after,
   three and the lengths of three, which the loader has run already where they come before. Never returns. */
_Noreturn void __libc_init(void *arguments, void (*at_exit)(void), int (*run)(int, char **, char **),
                           const void *const arrays[6]);

/* C's main takes two of the three words, which the calling convention allows. */
__attribute__((used)) static _Noreturn void begin(void *arguments) {
  static const void *const none[6];
  __libc_init(arguments, 0, (int (*)(int, char **, char **))main, none);
}

/* The outermost frame: nothing to return to. */
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  mov x0, sp\n"
        "  b begin\n"
        ".size _start, .-_start\n");
