"""Executables for Android without its NDK: what they may import from bionic, its C library, and how they are linked.

A dynamic executable is linked against libraries of which only their names and what they export matter. Stub libraries
with the names listed here stand in for those of the phone, so that no other name can be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

# Android 6: the first with `stdin`, `stdout` and `stderr` as variables and with hash tables of GNU's kind. The compiler
# keeps register x18 free for Android, calls no function that bionic lacks (bcmp), and has no thread-local segment.
ANDROID = "android.23"
START_SOURCES = ("bionic/start.c", "bionic/headers.c")
LOADER = "/system/bin/linker64"
# Bytes: Android 15 has machines with pages of so many; smaller pages take the same file.
SEGMENT_ALIGNMENT = 1 << 14

# By library: bionic's libc.map.txt, libdl.map.txt and libm.map.txt have all of them on 64-bit ARM at API level 23. The
# second and third line of libc's and those of libm are what the compiler may call by itself, or make of other calls.
FUNCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        library: tuple(names.split())
        for library, names in {
            "libc.so": """
                __errno __libc_init __sched_cpucount exit getenv getpid qsort strerror
                abort memchr memcmp memcpy memmove memset strlen
                fputc fputs fwrite putchar puts
                calloc free malloc posix_memalign realloc
                strchr strcmp strdup strncmp strrchr strtol strtoll
                asprintf fclose ferror fflush fgetc fgets fopen fprintf fread getline printf snprintf sscanf vsnprintf
                close lseek mkdir mmap munmap open pread rename unlink
                clock_gettime sched_getaffinity sched_setaffinity
                pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock
            """,
            "libdl.so": "dlclose dlerror dlopen dlsym",
            "libm.so": "fmod fmodf",
        }.items()
    }
)
VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType({"libc.so": ("stderr", "stdin", "stdout")})

STUB_FLAGS = ("-shared", "-nostdlib", "-fno-builtin", "-fno-sanitize=all", "-w")
LINK_FLAGS = (
    "-nostdlib",
    "-pie",
    f"-Wl,--dynamic-linker={LOADER}",
    # Pages of 16 KB, also for what is made read-only after relocation.
    f"-Wl,-z,max-page-size={SEGMENT_ALIGNMENT}",
    f"-Wl,-z,common-page-size={SEGMENT_ALIGNMENT}",
    "-Wl,--hash-style=both",
    "-Wl,--as-needed",
)


def stub_source(library: str) -> str:
    """C of a library that exports what may be imported from it, and does nothing."""
    functions = [f"void {name}(void) {{}}\n" for name in FUNCTIONS[library]]
    return "".join([*functions, *(f"void *{name};\n" for name in VARIABLES.get(library, ()))])


def include_flags(runtime: Path, compiler: Path) -> tuple[str, ...]:
    """Headers, of a folder of the runtime's and of the compiler's: musl's, but for what is otherwise in bionic."""
    headers = compiler / "lib" / "libc" / "include"
    folders = (runtime / "bionic", headers / "aarch64-linux-musl", headers / "generic-musl")
    return tuple(word for folder in folders for word in ("-isystem", str(folder)))


def refused_name(message: str) -> str:
    """The first name that a linker's message says is in none of the stub libraries; empty where it says none."""
    return message.partition("undefined symbol: ")[2].partition("\n")[0]
