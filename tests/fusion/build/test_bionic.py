"""The runner for Android: an executable that bionic's loader takes, which runs to its end where stand-ins are for the
phone's loader, C library and driver. No phone has run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.errors import ToolchainError
from fusion.build import bionic
from fusion.build.machine import described_gpu
from fusion.build.runner import visit_line
from fusion.build.toolchain import Toolchain, toolchain
from fusion.emit.opencl.family import FAMILIES
from fusion.emit.opencl.program import OpenClEmitter, emit_gpu_table
from fusion.emit.program import place
from fusion.planning.architecture_plan import architecture_plan
from tests.fusion.build import elf
from tests.fusion.build.android import TARGET, make_driver, make_sysroot
from tests.fusion.build.elf import Elf

pytestmark = pytest.mark.usefixtures("shared_home")

MODELS = [Architecture(layers, 64, 2, 96, vocab_size=50, seq_len=8) for layers in (1, 2)]
TEXELS = 65536
# A function with more numbers at once than there are registers.
MANY_NUMBERS = """
void mix(volatile long *numbers) {
  long kept[32];
#pragma unroll
  for (int i = 0; i < 32; i++) kept[i] = numbers[i];
#pragma unroll
  for (int i = 0; i < 32; i++) numbers[i] = kept[i] ^ kept[(i * 7 + 3) % 32];
}
"""


def compiler() -> Toolchain:
    return toolchain(TARGET)


@pytest.fixture(scope="module")
def runner(shared_home: None) -> Path:
    """Two models with the kernels for Adreno GPUs."""
    family = FAMILIES["adreno"]
    emitter = OpenClEmitter(family, TEXELS)
    programs = [place(architecture_plan(model), emitter, model.name) for model in MODELS]
    return compiler().bionic_executable([emit_gpu_table(programs, family)])


@pytest.fixture(scope="module")
def executable(runner: Path) -> Elf:
    return Elf.of(runner)


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> list[str]:
    """How a program of the phone is run here."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    return [emulator, "-L", str(make_sysroot(tmp_path_factory.mktemp("phone"), driver))]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_driver(tmp_path_factory.mktemp("driver"))


def test_it_is_a_position_independent_executable_for_the_phones_loader(executable: Elf) -> None:
    assert (executable.machine, executable.kind) == (elf.AARCH64, elf.SHARED)
    assert executable.values(elf.FLAGS_1)[0] & elf.PIE_FLAG
    assert executable.interpreter == "/system/bin/linker64"
    (code,) = [s for s in executable.of_kind(elf.LOAD) if s.flags & elf.EXECUTABLE]
    assert code.address <= executable.entry < code.address + code.file_bytes


def test_it_needs_bionics_libraries_and_imports_only_what_is_allowed(executable: Elf) -> None:
    assert {"libc.so", "libdl.so"} <= set(executable.needed) <= {"libc.so", "libdl.so", "libm.so"}
    allowed = {name for names in (*bionic.FUNCTIONS.values(), *bionic.VARIABLES.values()) for name in names}
    assert {"__libc_init", "__errno", "dlopen", "stderr"} <= executable.imported <= allowed
    assert not executable.values(elf.VERSIONS_NEEDED)  # the stubs have none: any phone's versions will do


def test_it_has_nothing_that_bionics_loader_refuses_or_older_ones_lack(executable: Elf) -> None:
    assert executable.of_kind(elf.THREAD_LOCAL) == []
    assert executable.values(elf.RELR) == executable.values(elf.ANDROID_RELR) == []
    assert executable.values(elf.TEXT_RELOCATIONS) == []
    assert not any(flags & elf.TEXT_RELOCATIONS_FLAG for flags in executable.values(elf.FLAGS))
    assert executable.values(elf.HASH) and executable.values(elf.GNU_HASH)
    arrays = (elf.PREINIT_ARRAY, elf.INIT_ARRAY, elf.FINI_ARRAY)
    assert not any(executable.values(tag) for tag in arrays)  # the start routine hands none over


def test_its_segments_suit_pages_of_16_kb(executable: Elf) -> None:
    page = 1 << 14
    segments = executable.of_kind(elf.LOAD)
    for segment in segments:
        assert segment.alignment == page and (segment.address - segment.offset) % page == 0
        assert segment.flags & (elf.WRITABLE | elf.EXECUTABLE) != elf.WRITABLE | elf.EXECUTABLE
    for before, after in pairwise(segments):  # no page has the rights of two
        assert (before.address + before.memory_bytes - 1) // page < after.address // page
    (later,) = executable.of_kind(elf.READ_ONLY_LATER)
    assert (later.address + later.memory_bytes) % page == 0  # nothing that is written shares its last page


def test_its_sections_are_kept(executable: Elf) -> None:
    (dynamic,) = executable.of_kind(elf.DYNAMIC)
    assert (6, dynamic.offset, dynamic.file_bytes) in executable.sections  # SHT_DYNAMIC, as bionic compares them


def test_the_compiler_leaves_alone_the_register_that_android_keeps(tmp_path: Path) -> None:
    """x18 belongs to the platform: code of the phone may keep its return addresses where it points."""
    source = tmp_path / "mix.c"
    source.write_text(MANY_NUMBERS)

    def registers(triple: str) -> set[str]:
        command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-O3", "-fno-sanitize=all", "-S"]
        text = tmp_path / "mix.s"
        subprocess.run([*command, str(source), "-o", str(text)], check=True, capture_output=True)
        return set(re.findall(r"\b[xw]\d+\b", text.read_text()))

    used = registers(f"aarch64-linux-{bionic.ANDROID}")
    assert not used & {"x18", "w18"} and {"x17", "x19"} <= used
    assert "x18" in registers(TARGET.static_triple)


@pytest.mark.parametrize("name", ["pthread_atfork", "bcmp"])
def test_what_is_not_on_the_list_is_not_imported(name: str) -> None:
    table = f"void {name}(void); void pb_more(void); void pb_more(void) {{ {name}(); }}\n"
    problem = f"the runner for Android may not import {name}: it is not on the list in fusion/build/bionic.py"
    with pytest.raises(ToolchainError, match=f"^{re.escape(problem)}$"):
        compiler().bionic_executable([table, emit_gpu_table([], FAMILIES["adreno"])])


def test_every_function_stands_in_one_library() -> None:
    names = [name for names in bionic.FUNCTIONS.values() for name in names]
    assert len(names) == len(set(names)) and set(bionic.VARIABLES) <= set(bionic.FUNCTIONS)


def started(
    command: list[str], driver: Path | None, text: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "POCKETBERT_OPENCL"} | settings
    if driver is not None:
        environment["POCKETBERT_OPENCL"] = str(driver)
    return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=120)


def test_it_shows_its_help(phone: list[str], runner: Path) -> None:
    done = started([*phone, str(runner), "--help"], None)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: runner") and all(f"  {model.name} " in done.stdout for model in MODELS)


def test_it_describes_the_phones_gpu(phone: list[str], runner: Path, driver: Path) -> None:
    done = started([*phone, str(runner), "--describe"], driver)
    assert (done.returncode, done.stderr) == (0, "")
    gpu = described_gpu(done.stdout, android=True)
    assert (gpu.device, gpu.library_name, gpu.texels) == ("Stand-in (Adreno 640)", str(driver), TEXELS)


def test_it_goes_round_programs_to_its_end(phone: list[str], runner: Path, driver: Path, tmp_path: Path) -> None:
    """Options, files, threads' locks, the driver's functions, kept kernels and JSON: all through bionic's names."""
    lines = "".join(visit_line(model.name, 1, 3, 0) for model in MODELS)
    (tmp_path / "round").write_text(lines)
    log = tmp_path / "log"
    settings = {"POCKETBERT_KERNELS": str(tmp_path / "kernels"), "STAND_IN_LOG": str(log)}
    for file, text in ((str(tmp_path / "round"), ""), ("-", lines)):
        log.unlink(missing_ok=True)
        command = [*phone, str(runner), "--round", file, "--fill", "--affinity", "1"]
        done = started(command, driver, text, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert [result["program"] for result in results] == [model.name for model in MODELS]
        for result, model in zip(results, MODELS, strict=True):
            blocks = architecture_plan(model).blocks
            assert [each["hash"] for each in result["blocks"]] == [block.block.hash for block in blocks]
            assert result["launches"] >= len(blocks) and len(result["samples_ms"]) == 3 and result["cpus"] == [0]
        calls = log.read_text().splitlines()
        assert calls[-1] == "live 0" and not [line for line in calls if line.startswith("error")]
    assert calls.count("CreateProgramWithSource") == 0 < len(list((tmp_path / "kernels").iterdir()))


def test_it_reads_inputs_and_weights(phone: list[str], runner: Path, driver: Path, tmp_path: Path) -> None:
    name = MODELS[0].name
    words = [*phone, str(runner), name, "--input", "input_ids=1,2,3,4,5,6,7,8"]
    done = started([*words, "--fill"], driver)
    assert done.returncode == 0 and list(json.loads(done.stdout)["outputs"].values()) == [[0, 0]]
    done = started([*words, "--weights", str(tmp_path / "none")], driver)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: cannot open the weights {tmp_path / 'none'}: No such file or directory\n"


def test_without_a_driver_it_says_what_it_tried(phone: list[str], runner: Path) -> None:
    done = started([*phone, str(runner), MODELS[0].name, "--fill"], None)
    assert (done.returncode, done.stdout) == (2, "")
    tried = done.stderr.removeprefix("error: no OpenCL driver: tried ").strip().split(", ")
    vendors = ["sphal:libOpenCL.so", "/vendor/lib64/libOpenCL.so", "/system/vendor/lib64/libOpenCL.so"]
    assert tried[0] == "libOpenCL.so" and [name for name in tried if "libOpenCL.so" in name][-3:] == vendors
    assert tried[-1].endswith("libOpenCL-pixel.so") and "libmali.so" in tried


def test_the_stand_in_refuses_what_bionic_refuses(phone: list[str], runner: Path, tmp_path: Path) -> None:
    """So that a runner which went to its end there kept to the rules."""
    content = runner.read_bytes()
    changed = tmp_path / "changed"
    for before, after, problem in (
        (b"\0pthread_mutex_lock\0", b"\0pthread_mutex_last\0", 'cannot locate symbol "pthread_mutex_last"'),
        (b"\0libdl.so\0", b"\0libxx.so\0", 'library "libxx.so" not found'),
    ):
        assert before in content
        changed.write_bytes(content.replace(before, after))
        changed.chmod(0o755)
        done = started([*phone, str(changed), "--help"], None)
        assert done.returncode == 127 and problem in done.stderr
