"""Libraries for apps on Android, read byte by byte: what bionic's loader takes, and what an app may expect of them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from data.architecture import Architecture
from data.errors import InputError, ToolchainError, UnknownNameError
from fusion.build import bionic
from fusion.build.android import ABIS, GPU_FAMILIES, app_libraries, checked_name, phones_gpu, phones_processor
from fusion.build.machine import Machine
from fusion.build.toolchain import DRIVER_SOURCES, RUNTIME, Addition, toolchain
from fusion.emit.c.program import build_program, emit_table
from fusion.planning.architecture_plan import architecture_plan
from fusion.planning.plan import with_precision
from fusion.target import TARGETS, target_named
from tests.fusion.build import elf
from tests.fusion.build.elf import Elf

pytestmark = pytest.mark.usefixtures("shared_home")

NAME = "sentiment_2"
BERT_BASE = Architecture(12, 768, 12, 3072)
SMALL = Architecture(2, 64, 2, 96, vocab_size=50, seq_len=8)
MACHINES = {"cpu": phones_processor(), "gpu": phones_gpu("adreno")}
MACHINE_OF = {"arm64-v8a": elf.AARCH64, "x86_64": elf.X86_64}
MOST_BYTES = 400_000
CASES = [(unit, abi) for unit in MACHINES for abi in ABIS]


def libraries_of(architecture: Architecture, machine: Machine) -> dict[str, bytes]:
    return dict(app_libraries(machine.place(architecture_plan(architecture)), machine, NAME))


@pytest.fixture(scope="module")
def libraries(shared_home: None) -> dict[tuple[str, str], Elf]:
    """BERT-base, by unit and ABI."""
    return {
        (unit, abi): Elf(content)
        for unit, machine in MACHINES.items()
        for abi, content in libraries_of(BERT_BASE, machine).items()
    }


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def library(case: tuple[str, str], libraries: dict[tuple[str, str], Elf]) -> Elf:
    return libraries[case]


def test_it_is_a_library_of_its_name_for_its_machine(library: Elf, case: tuple[str, str]) -> None:
    assert (library.machine, library.kind, library.name) == (MACHINE_OF[case[1]], elf.SHARED, f"lib{NAME}.so")
    assert not any(flags & elf.PIE_FLAG for flags in library.values(elf.FLAGS_1))
    assert library.of_kind(elf.INTERPRETER) == [] and library.values(elf.RUN_PATH) == []


def test_it_needs_bionics_libraries_and_imports_only_what_is_allowed(library: Elf, case: tuple[str, str]) -> None:
    needed = {"cpu": {"libc.so"}, "gpu": {"libc.so", "libdl.so"}}[case[0]]
    assert set(library.needed) <= {"libc.so", "libdl.so", "libm.so"} and needed <= set(library.needed)
    allowed = {name for names in bionic.FUNCTIONS.values() for name in names}
    expected = {"cpu": "pthread_create", "gpu": "dlopen"}[case[0]]
    assert library.imported <= allowed and library.imported >= {"__errno", "mmap", expected}
    assert not library.values(elf.VERSIONS_NEEDED)


def test_it_cannot_write_to_standard_output_or_standard_error(library: Elf) -> None:
    assert not library.imported & bionic.PRINTING
    assert not library.imported & {"__libc_init", "exit", "write", "syslog", "__android_log_print"}


def test_it_exports_what_the_header_names_and_nothing_else(library: Elf) -> None:
    declared = re.findall(r"^PB_API .*?\b(pb_\w+)\(", (RUNTIME / "pocketbert.h").read_text(), re.MULTILINE)
    assert library.exported == set(declared) and len(declared) == 12
    assert any(flags & elf.SYMBOLIC_FLAG for flags in library.values(elf.FLAGS))  # calls its own functions


def test_nothing_of_it_runs_before_it_is_called(library: Elf) -> None:
    arrays = (elf.PREINIT_ARRAY, elf.INIT_ARRAY, elf.FINI_ARRAY, elf.INIT, elf.FINI)
    assert not any(library.values(tag) for tag in arrays)


def test_it_has_nothing_that_bionics_loader_refuses_or_older_ones_lack(library: Elf) -> None:
    assert library.of_kind(elf.THREAD_LOCAL) == []
    assert library.values(elf.RELR) == library.values(elf.ANDROID_RELR) == []
    assert library.values(elf.TEXT_RELOCATIONS) == []
    assert not any(flags & elf.TEXT_RELOCATIONS_FLAG for flags in library.values(elf.FLAGS))
    assert library.values(elf.HASH) and library.values(elf.GNU_HASH)


def test_its_segments_suit_pages_of_16_kb(library: Elf) -> None:
    page = 1 << 14
    segments = library.of_kind(elf.LOAD)
    for segment in segments:
        assert segment.alignment == page and (segment.address - segment.offset) % page == 0
        assert segment.flags & (elf.WRITABLE | elf.EXECUTABLE) != elf.WRITABLE | elf.EXECUTABLE
    for before, after in pairwise(segments):  # no page has the rights of two
        assert (before.address + before.memory_bytes - 1) // page < after.address // page
    (later,) = library.of_kind(elf.READ_ONLY_LATER)
    assert (later.address + later.memory_bytes) % page == 0


def test_it_is_small_and_stripped_and_keeps_its_section_headers(library: Elf) -> None:
    assert len(library.content) < MOST_BYTES
    (dynamic,) = library.of_kind(elf.DYNAMIC)
    assert (6, dynamic.offset, dynamic.file_bytes) in library.sections  # SHT_DYNAMIC, as bionic compares them
    assert elf.SYMBOL_TABLE not in {kind for kind, _, _ in library.sections}
    assert len(library.content) == library.end  # and nothing behind it, such as the cache's seal


def test_all_abis_read_the_weights_of_one_program() -> None:
    """Their vectors are as wide, so that the code may be the same: it is compiled for each, and carries one id."""
    assert {target_named(target).vector_bytes for target in ABIS.values()} == {16}
    plan = architecture_plan(SMALL)
    shared = build_program(plan, phones_processor().target).id
    for library in libraries_of(SMALL, phones_processor()).values():
        assert shared.encode() in library
    assert build_program(plan, TARGETS["x86_64-sse"]).id != shared  # the emulator's own tiles would be others


@pytest.mark.parametrize("name", ["bcmp", *sorted(bionic.PRINTING)])
def test_a_name_that_bionic_may_lack_or_that_prints_ends_the_build(name: str) -> None:
    table = f'extern char more[] __asm__("{name}"); char *pb_more(void); char *pb_more(void) {{ return more; }}\n'
    problem = f"the library for Android may not import {name}: it is not on the list in fusion/build/bionic.py"
    for target in ABIS.values():
        with pytest.raises(ToolchainError, match=f"^{re.escape(problem)}$"):
            toolchain(target_named(target)).bionic_library([table, emit_table([])], NAME)


def test_further_sources_export_what_they_show() -> None:
    """A bridge to Java is such a source."""
    shown = '__attribute__((visibility("default"))) int Java_org_example_run(void);\nint hidden(void);\n'
    source = f"{shown}int hidden(void) {{ return 1; }}\nint Java_org_example_run(void) {{ return hidden(); }}\n"
    machine = MACHINES["gpu"]
    program = machine.place(architecture_plan(SMALL))
    more = app_libraries(program, machine, "bridge", Addition((source,), DRIVER_SOURCES[1:]))
    for abi, plain in app_libraries(program, machine, "bridge").items():
        exported = Elf(plain).exported
        assert Elf(more[abi]).exported == exported | {"Java_org_example_run", "pb_describe_gpu"}


@pytest.mark.parametrize(
    "name",
    ["", "a b", "9a", "_a", "a-b", "a.b", "../a", "a/b", "é", "a" * 65, "a\n", "$(id)", "log", "c", "OpenCL", None],
)
def test_names_that_c_or_java_cannot_say_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="library"):
        checked_name(name)


@pytest.mark.parametrize("name", ["a", "model", "Sentiment_2", "a" * 64])
def test_other_names_are_taken(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("family", GPU_FAMILIES)
def test_every_family_of_phones_gpus_has_kernels(family: str) -> None:
    gpu = phones_gpu(family)
    program = gpu.place(with_precision(architecture_plan(SMALL), "fp16"))
    (source,) = gpu.sources([program])
    assert gpu.family.name == family and program.id in source and source.count("kernel void") >= len(program.units)


def test_kernels_for_phones_are_not_those_for_cores() -> None:
    for family in ("cores16", "nvidia", ""):
        with pytest.raises(UnknownNameError, match="family of GPUs"):
            phones_gpu(family)
