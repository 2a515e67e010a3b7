"""Counted cycles: loops out of assembly, the rules of cores, and the stored counts against those made anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError, ToolchainError, UnknownNameError
from fusion.block import make_block
from fusion.cycles.assembly import loops_of
from fusion.cycles.cores import CORES, core_named
from fusion.cycles.count import COUNTED, counted_loops, counts_of
from fusion.cycles.in_order import in_order_cycles
from fusion.cycles.mca import find_mca, mca_cycles
from fusion.cycles.probes import fp32_probes, probes
from fusion.cycles.table import fp32_target, method_error, stored_counts
from fusion.emit.c import emit_block
from fusion.emit.c.half_packing import HALF_DEPTH
from fusion.emit.c.work import tile_loop, work_of
from fusion.planning.architecture_plan import plan_architecture
from fusion.target import target_named
from profiling.processor_latency import block_seconds
from profiling.sampling import SamplingRange, sample_architectures
from tests.support import new_home

NEEDS_MCA = pytest.mark.skipif(find_mca() is None, reason="llvm-mca 19 is not installed")
# Multiply-adds a cycle, vectors: two on an A76, one on an A55, in fp32, half and sums of four bytes alike.
RATES = {"neoverse-n1": 2, "cortex-a55": 1}
# Which share of that the inner loops must reach, alone and while they fetch the next block's weights.
LEAST_SHARES = {"neoverse-n1": 0.85, "cortex-a55": 0.75}
# Register tiles: rows, vectors of fp32 sums, and multiplications a step.
NARROW_TILES = {"int8": (10, 2, 20), "fp16": (8, 4, 16)}

NESTED = """
probe:
  mov x9, xzr
  b .LBB0_2
.LBB0_1:
  add x9, x9, #1
  cmp x9, x8
  b.eq .LBB0_9
.LBB0_2:
  ldr q0, [x1] // one
  b .LBB0_4
.LBB0_3:
  fadd v1.4s, v1.4s, v2.4s
  subs x7, x7, #1
  b.eq .LBB0_1
.LBB0_4:
  cbz x4, .LBB0_3
  ldr q2, [x4]
  b .LBB0_3
.LBB0_9:
  ret
.Lfunc_end0:
"""


def test_loops_are_found_wherever_their_blocks_stand_and_the_longer_way_is_taken() -> None:
    (outer,) = loops_of(NESTED, "probe", "aarch64")
    (inner,) = outer.inner
    assert sorted(text.split()[0] for text in inner.body if isinstance(text, str)) == sorted(
        ["cbz", "ldr", "b", "fadd", "subs", "b.eq"]
    )
    assert len(outer.unrolled({inner: 3})) == len(outer.unrolled({inner: 1})) + 2 * len(inner.body)


def test_functions_that_are_not_there_or_call_others_are_refused() -> None:
    with pytest.raises(ToolchainError, match="no whole function other"):
        loops_of(NESTED, "other", "aarch64")
    with pytest.raises(ToolchainError, match="calls a function"):
        loops_of(NESTED.replace("subs x7", "bl memcpy\n  subs x7"), "probe", "aarch64")


def independent(text: str, count: int) -> list[str]:
    return [text.format(number) for number in range(count)]


@pytest.mark.parametrize(
    ("line", "cycles"),
    [
        (independent("fmla v{}.4s, v30.4s, v31.4s", 8), 8),  # 128 bits: one a cycle
        (independent("fmla v{}.2s, v30.2s, v31.2s", 8), 4),
        (["fmla v0.4s, v30.4s, v31.4s"], 4),  # sums wait for themselves
        ([word for n in range(8) for word in (f"fmla v{n}.4s, v30.4s, v31.4s", f"ldr s{n + 8}, [x0]")], 8),
        (["ldr q20, [x0]", *independent("fmla v{}.4s, v30.4s, v31.4s", 8)], 10),  # two cycles, nothing beside it
        (["ldp q20, q21, [x0]"], 4),
        (["add x1, x2, #1", "add x3, x4, #1"], 1),
        (["fdiv v0.4s, v30.4s, v31.4s", "fdiv v1.4s, v30.4s, v31.4s"], 20),
    ],
)
def test_the_cortex_a55_issues_by_the_rules_of_its_guide(line: list[str], cycles: int) -> None:
    assert in_order_cycles(line, 12) - in_order_cycles(line, 11) == cycles


def test_an_instruction_that_is_not_in_the_guide_is_refused() -> None:
    with pytest.raises(ToolchainError, match="not in the table"):
        in_order_cycles(["frobnicate v0.4s"], 1)


@NEEDS_MCA
def test_the_installed_llvm_has_no_cortex_a57_for_a_neoverse_n1() -> None:
    """An A76 does two multiply-adds of 128 bits a cycle, an A57 one; LLVM's own cortex-a76 is an A57."""
    line = independent("fmla v{}.4s, v30.4s, v31.4s", 24)
    each = {cpu: mca_cycles(line, "aarch64", cpu, 100) / 100 for cpu in ("neoverse-n1", "cortex-a76")}
    assert each["neoverse-n1"] == pytest.approx(12, rel=0.05) and each["cortex-a76"] > 20


@NEEDS_MCA
def test_what_llvm_has_wrong_is_corrected() -> None:
    stepped = ["str q0, [x1], #16", "fdiv v0.4s, v2.4s, v3.4s"]
    assert core_named("neoverse-n1").cycles(stepped) < 10  # the address does not wait for the division
    wide = [f"vfmadd231ps %zmm30, %zmm31, %zmm{number}" for number in range(24)]
    assert core_named("sapphire-rapids").cycles(wide) == pytest.approx(12, rel=0.05)
    bytes_ = [f"vpdpbusd %zmm30, %zmm31, %zmm{number}" for number in range(24)]
    assert core_named("sapphire-rapids").cycles(bytes_) == pytest.approx(12, rel=0.05)
    loaded = [f"vbroadcastss {4 * number}(%rsi), %zmm31" for number in range(6)]
    assert core_named("zen4").cycles([*bytes_, *loaded]) == pytest.approx(24, rel=0.05)  # one a cycle, loads beside


def test_the_stored_counts_are_of_every_loop_that_blocks_run() -> None:
    for name, cores in COUNTED.items():
        target = target_named(name)
        fp32 = fp32_probes(target_named(fp32_target(name)))
        known = {probe.name for probe in (*fp32, *probes(target))}
        for core in cores:
            assert stored_counts(name, core).keys() == known
        for model in sample_architectures(SamplingRange(), 3, 0):
            for precision in ("fp32", "int8", *(["fp16"] if target.half else [])):
                for fuse in (True, False):
                    for block in plan_architecture(replace(model, precision=precision), fuse):
                        work = work_of(block, target)
                        assert {loop.name for loop in work.loops} <= known, block.name
                        assert work.tiles == emit_block(block, target).tiles


@pytest.mark.parametrize("kind", ["", "fetch", "across"])
@pytest.mark.parametrize(("core", "least"), LEAST_SHARES.items())
def test_products_reach_most_of_a_core_s_rate(core: str, least: float, kind: str) -> None:
    for height, width in ((8, 3), (12, 2)):
        count = stored_counts("aarch64-neon", core)[tile_loop(height, width, kind)]
        assert least <= height * width / RATES[core] / count.step <= 1


@pytest.mark.parametrize("kind", ["", "fetch"])
@pytest.mark.parametrize(("core", "least"), LEAST_SHARES.items())
@pytest.mark.parametrize("precision", NARROW_TILES)
def test_narrow_products_reach_most_of_a_core_s_rate(precision: str, core: str, least: float, kind: str) -> None:
    height, width, multiplications = NARROW_TILES[precision]
    counts = stored_counts("aarch64-dotprod", core)
    step = counts[tile_loop(height, width, kind, precision)].step
    if precision == "fp16":  # with what widens a part's sums
        step += counts[tile_loop(height, width, "more", precision)].entry / HALF_DEPTH
    assert least <= multiplications / RATES[core] / step <= 1


def test_loops_of_other_instructions_do_not_stand_for_narrow_ones() -> None:
    """Code with smmla is counted on no core: its int8 loops are missing, and are not those of smlal."""
    spec = load_device("s20")
    block = make_block("gemm", {"rows": 128, "inner": 256, "columns": 256}, ())
    narrow = replace(block, precision="int8", attributes=(("narrow_operand", "0,128"),))
    assert block_seconds(block, target_named("aarch64-i8mm"), spec) > 0
    assert block_seconds(narrow, target_named("aarch64-dotprod"), spec) > 0
    with pytest.raises(DeviceError, match=r"loop int8 .* aarch64-i8mm was not counted on neoverse-n1"):
        block_seconds(narrow, target_named("aarch64-i8mm"), spec)


@pytest.mark.parametrize("sizes", [(128, 768, 3072), (128, 3072, 768), (1, 768, 768), (77, 100, 50), (14, 300, 13)])
@pytest.mark.parametrize("name", COUNTED)
def test_trips_are_those_of_the_product(name: str, sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    target = target_named(name)
    work = work_of(make_block("gemm", {"rows": rows, "inner": inner, "columns": columns}, ("bias",)), target)
    done = 0.0
    for loop in work.loops:
        if loop.name.startswith("tile "):
            height, width = map(int, loop.name.split()[1].split("x"))
            done += height * width * loop.steps
    assert done == pytest.approx(rows * inner * -(-columns // target.lanes))


@NEEDS_MCA
@pytest.mark.parametrize("name", COUNTED)
def test_the_stored_counts_are_what_is_counted_now(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path)))
    wanted = r"^tile (8x3( fetch)?|6x2)$|^rows (gelu|int8)$|^int8 (3x3|10x2|8x3)$|^half 8x4( fetch| more)$"
    loops = counted_loops(target_named(name), wanted)
    for core in COUNTED[name]:
        for loop, count in counts_of(loops, CORES[core]).items():
            stored = stored_counts(name, core)[loop]
            assert (count.step, count.entry) == pytest.approx((stored.step, stored.entry), abs=0.06), (core, loop)


def test_unknown_cores_and_targets() -> None:
    with pytest.raises(UnknownNameError, match="core"):
        stored_counts("aarch64-neon", "cortex-m0")
    with pytest.raises(UnknownNameError, match="target"):
        stored_counts("x86_64-sse", "neoverse-n1")
    lse, neon = (stored_counts(name, "cortex-a55") for name in ("aarch64-lse", "aarch64-neon"))
    assert lse == {name: count for name, count in neon.items() if "int8" not in name}


def test_the_error_of_the_method_is_said() -> None:
    assert "x86" in method_error() and "%" in method_error()
