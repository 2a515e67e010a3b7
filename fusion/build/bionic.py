"""Executables and libraries for Android without its NDK: what they may import from bionic, its C library, and how they
are linked.

They are linked against libraries of which only their names and what they export matter. Stub libraries with the names
listed here stand in for those of the phone, so that no other name can be imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType

# Android 6: the first with `stdin`, `stdout` and `stderr` as variables and with hash tables of GNU's kind. The compiler
# keeps register x18 free for Android, calls no function that bionic lacks (bcmp), and has no thread-local segment.
ANDROID = "android.23"
HEADER_SOURCES = ("bionic/headers.c",)
START_SOURCES = ("bionic/start.c", *HEADER_SOURCES)
LOADER = "/system/bin/linker64"
# Bytes: Android 15 has machines with pages of so many; smaller pages take the same file.
SEGMENT_ALIGNMENT = 1 << 14

# By library: bionic's libc.map.txt, libdl.map.txt and libm.map.txt have all of them on 64-bit ARM and x86-64 at API
# level 23. The second and third line of libc's and those of libm are what the compiler may call by itself, or make of
# other calls.
FUNCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        library: tuple(names.split())
        for library, names in {
            "libc.so": """
                __errno __libc_init __sched_cpucount exit getenv getpid qsort strerror
                abort memchr memcmp memcpy memmove memset strlen
                fputc fputs fwrite putchar puts
                calloc free malloc posix_memalign realloc
                strchr strcmp strcspn strdup strncmp strrchr strtol strtoll
                asprintf fclose ferror fflush fgetc fgets fopen fprintf fread fscanf getline printf snprintf sscanf
                vsnprintf
                close lseek mkdir mmap munmap open pread rename unlink
                clock_gettime getauxval nanosleep sched_getaffinity sched_getcpu sched_setaffinity sched_yield syscall
                pthread_cond_broadcast pthread_cond_destroy pthread_cond_init pthread_cond_wait
                pthread_create pthread_getcpuclockid pthread_join
                pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock
            """,
            "libdl.so": "dlclose dlerror dlopen dlsym",
            "libm.so": "expf fmod fmodf",
        }.items()
    }
)
VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType({"libc.so": ("stderr", "stdin", "stdout")})

# What writes to standard output or standard error, or may: a library for apps imports none of it. (Files that it opens
# itself are written by fwrite.)
PRINTING = frozenset("fprintf fputc fputs printf putchar puts stderr stdin stdout".split())

# Helpers of atomics come with the NDK, and run before anything else of a library. Zig passes the plain flag by.
_INLINE_ATOMICS = ("-Xarch_host", "-mno-outline-atomics")
STUB_FLAGS = ("-shared", "-nostdlib", "-fno-builtin", "-fno-sanitize=all", "-w")
_LINK_FLAGS = (
    "-nostdlib",
    # Pages of 16 KB, also for what is made read-only after relocation.
    f"-Wl,-z,max-page-size={SEGMENT_ALIGNMENT}",
    f"-Wl,-z,common-page-size={SEGMENT_ALIGNMENT}",
    "-Wl,--hash-style=both",
    "-Wl,--as-needed",
)
EXECUTABLE_FLAGS = ("-pie", f"-Wl,--dynamic-linker={LOADER}", *_LINK_FLAGS)
# A name that no stub library has ends the link of a library, too. An app may have several models: each calls its own
# functions of the same names. Symbols for debuggers go, section headers stay.
LIBRARY_FLAGS = ("-shared", "-Wl,-z,defs", "-Wl,-Bsymbolic", "-s", *_LINK_FLAGS)


def stub_source(library: str, without: Set[str] = frozenset()) -> str:
    """C of a library that exports what may be imported from it, and does nothing."""
    functions = [f"void {name}(void) {{}}\n" for name in FUNCTIONS[library] if name not in without]
    variables = [f"void *{name};\n" for name in VARIABLES.get(library, ()) if name not in without]
    return "".join([*functions, *variables])


def compile_flags(machine: str, runtime: Path, compiler: Path) -> tuple[str, ...]:
    """Headers for a machine, of a folder of the runtime's and of the compiler's: musl's, but for what is otherwise in
    bionic, and the kernel's."""
    headers = compiler / "lib" / "libc" / "include"
    kernel = ("aarch64" if machine == "aarch64" else "x86") + "-linux-any"
    names = (f"{machine}-linux-musl", "generic-musl", kernel, "any-linux-any")
    folders = (runtime / "bionic", *(headers / name for name in names))
    words = tuple(word for folder in folders for word in ("-isystem", str(folder)))
    return (*words, *_INLINE_ATOMICS) if machine == "aarch64" else words


def refused_name(message: str) -> str:
    """The first name that a linker's message says is in none of the stub libraries; empty where it says none."""
    return message.partition("undefined symbol: ")[2].partition("\n")[0]
