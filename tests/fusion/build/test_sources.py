"""Models open from a path, a descriptor with an offset, and memory: equal outputs, no copy where none is needed, and
one line for whatever is wrong."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion import compile_model, export_compiled
from fusion.compiled import CompiledModel
from fusion.emit.weights import are_whole
from tests.fusion.build.gcc import NATIVE, WARNINGS, link, model_objects, needs_gcc, needs_gxx
from tests.fusion.build.sources import DESCRIPTOR, MEMORY, PATH, Library, Source
from tests.fusion.families import Export, export_family

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN = 7
CHANGES = 2000


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    how = Export("bert", changes={"num_hidden_layers": 1})
    return export_family(how, tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def model(onnx: Path, shared_home: None) -> CompiledModel:
    return compile_model(onnx, seq_len=SEQ_LEN)


def library_of(model: CompiledModel) -> Library:
    return Library(model.library(), model.program, model.weights())


@pytest.fixture(params=["cpu", "gpu"])
def library(
    request: pytest.FixtureRequest, onnx: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Library:
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("POCKETBERT_KERNELS", raising=False)
    return library_of(compile_model(onnx, seq_len=SEQ_LEN, unit=request.param))


@pytest.fixture
def archive(library: Library, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A descriptor of a file that begins with the weights, and has more behind; and how many bytes they have."""
    content = library.weights.read_bytes()
    (tmp_path / "archive").write_bytes(content + b"behind")
    with (tmp_path / "archive").open("rb") as file:
        yield file.fileno(), len(content)


@needs_gcc
def test_two_thousand_changes_of_the_weights_are_found(model: CompiledModel, tmp_path: Path) -> None:
    sanitizer = "address,undefined"
    program = link(
        [*model_objects(model, sanitizer, tmp_path), NATIVE / "mutations.c"], tmp_path / "changes", sanitizer
    )
    words = [str(program), str(model.weights()), str(tmp_path / "changed"), str(CHANGES)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    refused, verified, whole = map(int, done.stdout.split())
    assert refused > 1000 and verified > 500 and whole < 200 and refused + verified + whole == CHANGES


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 12, 64, 4092, 4096, 65535, 65540])
def test_weights_may_lie_anywhere_in_a_file_or_in_memory(offset: int, model: CompiledModel, tmp_path: Path) -> None:
    library, content = library_of(model), model.weights().read_bytes()
    expected = library.run(Source(PATH, os.fsencode(model.weights())))
    (tmp_path / "archive").write_bytes(b"x" * offset + content + b"behind")
    with (tmp_path / "archive").open("rb") as file, mmap.mmap(-1, offset + len(content)) as memory:
        memory[offset:] = content
        held = (ctypes.c_char * len(memory)).from_buffer(memory)
        places = [
            Source(DESCRIPTOR, None, file.fileno(), offset, None, len(content)),
            Source(MEMORY, None, -1, 0, ctypes.addressof(held) + offset, len(content)),
        ]
        for place in places:
            assert library.run(place) == expected
            assert library.verify(place) == ""
        assert file.tell() == 0  # where the caller reads is the caller's
        del held


def test_only_weights_at_odd_places_are_copied(model: CompiledModel, tmp_path: Path) -> None:
    """As the system sees it: what the file is mapped for is no memory of the process's own."""
    library, content = library_of(model), model.weights().read_bytes()
    for offset, mapped in ((0, True), (4, True), (4096 + 12, True), (2, False)):
        archive = tmp_path / f"archive{offset}"
        archive.write_bytes(b"x" * offset + content)
        with archive.open("rb") as file:
            handle = library.opened(Source(DESCRIPTOR, None, file.fileno(), offset, None, len(content)))
        assert (str(archive) in Path("/proc/self/maps").read_text()) == mapped
        library.close(handle)
        assert str(archive) not in Path("/proc/self/maps").read_text()


def test_the_descriptor_may_be_closed_once_the_model_is_open(model: CompiledModel) -> None:
    library = library_of(model)
    expected = library.run(Source(PATH, os.fsencode(library.weights)))
    with library.weights.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        handle = library.opened(Source(DESCRIPTOR, None, file.fileno(), 0, None, size))
    assert library.outputs(handle) == expected
    library.close(handle)


def test_whatever_is_wrong_with_a_source_is_one_line(
    library: Library, archive: tuple[int, int], tmp_path: Path
) -> None:
    file, size = archive
    reading, writing = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    nowhere = "no source of the weights: it names no path, descriptor or memory"
    odd = f"the weights of descriptor {file} have"
    cases = [
        (None, nowhere),
        (Source(), nowhere),
        (Source(9, b"path"), nowhere),
        (Source(PATH), nowhere),
        (Source(MEMORY, None, 0, 0, None, size), nowhere),
        (Source(PATH, b"/nowhere/w"), "cannot open the weights /nowhere/w: No such file or directory"),
        (Source(PATH, os.fsencode(tmp_path)), f"cannot read the weights {tmp_path}: Is a directory"),
        (Source(DESCRIPTOR, None, -1, 0, None, size), "cannot read the weights of descriptor -1: Bad file descriptor"),
        (Source(DESCRIPTOR, None, reading, 0, None, size), f"of descriptor {reading}: Illegal seek"),
        (Source(DESCRIPTOR, None, folder, 0, None, size), f"of descriptor {folder}: Is a directory"),
        (Source(DESCRIPTOR, None, file, 0, None, size - 1), f"{odd} {size - 1} bytes, the program needs {size}"),
        (Source(DESCRIPTOR, None, file, 0, None, -1), f"{odd} -1 bytes, the program needs {size}"),
        (Source(DESCRIPTOR, None, file, -4, None, size), "there is no such offset"),
        (Source(DESCRIPTOR, None, file, 2**63 - 5, None, size), "there is no such offset"),
        (Source(DESCRIPTOR, None, file, 8, None, size), "the file ends before they do"),
        (Source(DESCRIPTOR, None, file, 6, None, size), f"the weights of descriptor {file} are of another program"),
    ]
    for source, problem in cases:
        _, error = library.open(source)
        assert error.endswith(problem) and "\n" not in error
        assert source is None or library.verify(source) == error
    for descriptor in (reading, writing, folder):
        os.close(descriptor)


def test_a_program_that_is_missing_is_one_line(library: Library, archive: tuple[int, int]) -> None:
    file, size = archive
    source = Source(DESCRIPTOR, None, file, 0, None, size)
    assert library.open(source, program=b"modem")[1] == "no program modem"
    assert library.native.pb_verify(None, ctypes.byref(source), ctypes.create_string_buffer(64), 64) == 1


def test_what_is_damaged_inside_is_found_by_verifying(library: Library, tmp_path: Path) -> None:
    """Python's checksum is the runtime's; opening looks at the header alone, which has the version and the program."""
    content = bytearray(library.weights.read_bytes())
    changed = tmp_path / "weights.bin"
    source = Source(PATH, os.fsencode(changed))
    for place, problem, opens in (
        (None, "", True),
        (len(content) - 1, "damaged: their checksum is another", True),
        (56, "damaged: their checksum is another", True),
        (63, "damaged: there is no such checksum", False),
        (8, "of another version", False),
        (16, "of another program", False),
        (50, "of another program", False),
        (0, "of another program", False),
    ):
        other = bytearray(content)
        if place is not None:
            other[place] ^= 0x40
        changed.write_bytes(other)
        assert are_whole(library.program, changed) == (place is None)
        assert library.verify(source) == (f"the weights {changed} are {problem}" if problem else "")
        handle, _ = library.open(source)
        assert bool(handle) == opens
        library.close(handle)


def test_a_gpus_kernels_are_kept_where_the_caller_says(
    library: Library, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """An app's assets have no folder beside them."""
    content = library.weights.read_bytes()
    source = Source(MEMORY, None, -1, 0, ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value, len(content))
    kernels = tmp_path / "cache"
    for _ in range(2):
        handle, error = library.open(source, kernels)
        assert not error
        library.close(handle)
    if request.node.callspec.params["library"] == "cpu":
        assert not kernels.exists()
        return
    assert len(list(kernels.iterdir())) > 5
    built = (tmp_path / "log").read_text().splitlines().count("CreateProgramWithSource")
    assert built == len(list(kernels.iterdir()))  # the second time they were there


@needs_gxx
@pytest.mark.parametrize("language", [["gcc", "-std=c11", "-x", "c"], ["g++", "-std=c++17", "-x", "c++"]])
def test_the_header_is_c11_and_cpp17(language: list[str], model: CompiledModel, tmp_path: Path) -> None:
    exported = export_compiled(model, tmp_path / "exported")
    source = '#include "pocketbert.h"\nint main(void) { return pb_api_version() - PB_API_VERSION; }\n'
    (tmp_path / "main.c").write_text(source)
    words = [*language, *WARNINGS, "-Wconversion", "-I", str(exported), str(tmp_path / "main.c"), "-x", "none"]
    subprocess.run([*words, str(exported / "model.so"), "-lpthread", "-o", str(tmp_path / "main")], check=True)
    assert subprocess.run([str(tmp_path / "main")], check=False, timeout=60).returncode == 0
