"""Probes of all loops that emitted code runs in fp32, and of those of int8 and half beside them."""

from __future__ import annotations

from fusion.cycles.narrow_probes import half_probes, int8_probes
from fusion.cycles.probe import COLUMNS, FINISH, STRIDE, Marker, Probe, all_sizes
from fusion.cycles.table import fp32_target
from fusion.emit.c.tiling import SINGLE_ROW_TILE, register_tiles
from fusion.emit.c.work import tile_loop
from fusion.target import Target

_QUERIES, _KEYS, _HEAD_SIZE = 64, 128, 64
_MANY_KEYS = 1024
# Whole vectors before the last one of a row that is normalised: loops leave that one out.
_ROW_VECTORS = 193
_LONG_STEPS = ("gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu")


def probes(target: Target) -> tuple[Probe, ...]:
    """The probes of the code for a target; without those of fp32 where another target's stand for them."""
    narrow = (*int8_probes(target), *half_probes(target))
    return narrow if fp32_target(target.name) != target.name else (*fp32_probes(target), *narrow)


def fp32_probes(target: Target) -> tuple[Probe, ...]:
    """The probes of the fp32 code for a target."""
    return (*_tiles(target), *_ends(target), *_steps(), *_row_functions(target), *_attention(target))


def _tiles(target: Target) -> list[Probe]:
    found = []
    for height, width in all_sizes((SINGLE_ROW_TILE, *register_tiles(target))):
        columns, marker = width * target.lanes, (Marker("multiply-add", height * width, pipelined=True),)
        rows = f"  for (int r = 0; r < last; r += {height})\n    "
        call = f"pb_tile_to({height}, {width}, 0, a + (long)r * {STRIDE}, {STRIDE}, 1, b, {columns}, "
        call += f"c + (long)r * {STRIDE}, {STRIDE}, {COLUMNS}, "
        found.append(Probe(tile_loop(height, width), f"{rows}{call}0, 0, (pb_end){{0}});\n", marker))
        fetching = f"{rows}{call}1, ahead + {64 * COLUMNS}L * r, (pb_end){{0}});\n"
        found.append(Probe(tile_loop(height, width, "fetch"), fetching, marker))
        across = f"pb_tile({height}, {width}, 0, a + r, 1, {_QUERIES}, b, {_HEAD_SIZE}, c + r * {_HEAD_SIZE}, "
        across += f"{_HEAD_SIZE}, {_KEYS});\n"
        found.append(Probe(tile_loop(height, width, "across"), rows + across, marker))
    return found


def _ends(target: Target) -> list[Probe]:
    """Steps of an epilogue that are done before a register tile is stored, as what they add to its end."""
    height, width = register_tiles(target)[0]
    steps = {
        "bias": "x += pb_load(o->weights + n);",
        "residual": f"x += pb_load((const float *)o->inputs[1] + r * {STRIDE} + n);",
        "no_norm": f"x = x * pb_load(o->weights + n) + pb_load(o->weights + {COLUMNS} + n);",
        "relu": "x = pb_relu(x);",
    }
    columns = width * target.lanes
    body = (
        f"  for (int r = 0; r < last; r += {height})\n"
        f"    pb_tile_to({height}, {width}, 0, a + (long)r * {STRIDE}, {STRIDE}, 1, b, {columns}, "
        f"c + (long)r * {STRIDE}, {STRIDE}, {COLUMNS}, 0, 0, (pb_end){{{FINISH}, o, r, 0}});\n"
    )
    marker = (Marker("multiply-add", height * width, pipelined=True),)
    return [
        Probe(f"end {name}", body, marker, (), tile_loop(height, width), height * width, finish)
        for name, finish in steps.items()
    ]


def _steps() -> list[Probe]:
    """Loops over the columns of rows: copied, summed, or one step of an epilogue done in place."""
    rows = f"  for (int r = 0; r < last; r++)\n    for (int n = 0; n < {COLUMNS}; n += PB_LANES) {{\n"
    load, store = f"pb_load(c + (long)r * {STRIDE} + n)", f"pb_store(c + (long)r * {STRIDE} + n, x);\n    }}\n"
    other = f"pb_load(a + (long)r * {STRIDE} + n)"
    statements = {
        "sum": f"pb_vec x = {other} + pb_load(b + (long)mask[r] * {STRIDE} + n);",
        "bias": f"pb_vec x = {load}; x += pb_load(o->weights + n);",
        "residual": f"pb_vec x = {load}; x += {other};",
        "no_norm": f"pb_vec x = {load}; x = x * pb_load(o->weights + n) + pb_load(o->weights + {COLUMNS} + n);",
        **{step: f"pb_vec x = {load}; x = pb_{step}(x);" for step in _LONG_STEPS},
    }
    return [
        Probe(f"rows {name}", f"{rows}      {text}\n      {store}", (Marker("store"),))
        for name, text in statements.items()
    ]


def _row_functions(target: Target) -> list[Probe]:
    columns = _ROW_VECTORS * target.lanes
    by_key = Marker("scalar store", target.lanes), Marker("store"), Marker("scalar sum", target.lanes), Marker("store")
    calls = {
        "layer_norm": (f"pb_layer_norm(row, {columns}, b, b + {columns}, 1e-5f);", "load load store"),
        "l2_norm": (f"pb_l2_norm(row, {columns}, 0.0f, 1e-12f, 0.0f);", "load store"),
        "row_softmax": (f"pb_row_softmax(row, {columns});", "load store store"),
        "softmax": (f"pb_softmax(a + (long)r * {_MANY_KEYS}, row, {_MANY_KEYS}, mask, -1e4f, 0.125f);", ""),
    }
    return [
        Probe(
            f"rows {name}",
            f"  for (int r = 0; r < last; r++) {{\n    float *row = c + (long)r * {STRIDE};\n    {call}\n  }}\n",
            tuple(Marker(kind) for kind in kinds.split()) or by_key,
        )
        for name, (call, kinds) in calls.items()
    ]


def _attention(target: Target) -> list[Probe]:
    """The steps of attention around its products: :mod:`fusion.emit.c.attention`."""
    lanes = target.lanes
    found = [
        Probe(
            f"online_softmax {vectors}",
            f"  for (int n = 0; n < last; n += {vectors * lanes})\n"
            f"    pb_online_softmax({vectors}, c + n, {_QUERIES}, {_KEYS}, 1, mask, -1e4f, c + {_QUERIES * _KEYS} + n, "
            f"c + {_QUERIES * (_KEYS + 1)} + n, c + {_QUERIES * (_KEYS + 2)} + n);\n",
            (Marker("load", vectors), Marker("store", vectors)),
        )
        for vectors in (1, 2)
    ]
    found.append(
        Probe(
            "transpose",
            f"  pb_transpose(a, {STRIDE}, c, {_QUERIES}, last, {_HEAD_SIZE}, 0.125f);\n",
            (Marker("store", lanes),),
        )
    )
    moves = {
        "copy_rows": f"pb_copy_rows(a, {STRIDE}, c, {_HEAD_SIZE}, last, {_HEAD_SIZE});",
        "scale_rows": f"pb_scale_rows(c, {_HEAD_SIZE}, a, last, {_HEAD_SIZE});",
        "store_scaled": f"for (int r = 0; r < last; r++) pb_store_scaled(c + (long)r * {STRIDE}, "
        f"a + (long)r * {_HEAD_SIZE}, 1.0f / b[r], {_HEAD_SIZE});",
    }
    return found + [Probe(name, f"  {text}\n", (Marker("store"),)) for name, text in moves.items()]
