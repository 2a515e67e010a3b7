"""OpenCL of a matrix product with an epilogue: tiles of results in registers, no local memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fusion.block import RESULT, Block
from fusion.emit.layout import round_up, row_stride
from fusion.emit.opencl.family import TEXEL, Family, Tile
from fusion.emit.opencl.kernel import OpenClUnit, access, epilogue_of, make_kernel, matrix_bytes, operand_stride, padded
from fusion.emit.opencl.rows import row_function


def tiles_of(block: Block, family: Family, texels: int) -> tuple[Tile, ...]:
    """The tiles that suit a product on a GPU whose images hold so many texels, the first without measuring."""
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    fitting = [fitted(tile, block) for tile in family.tiles]
    allowed = [tile for tile in fitting if not tile.image or _texels(block, tile) <= texels]
    worth = family.image_from is None or -(-rows // 4) * -(-columns // 4) >= family.image_from
    ordered = sorted(allowed, key=lambda tile: tile.image and not worth)
    return tuple(dict.fromkeys(ordered))


def fitted(tile: Tile, block: Block) -> Tile:
    """The tile, no larger than the product: what is beyond its last row or vector would be computed in vain."""
    rows, columns = min(tile.rows, block.sizes["rows"]), round_up(block.sizes["columns"], tile.width)
    return replace(tile, rows=rows, columns=min(tile.columns, columns))


def matrix_width(block: Block, tile: Tile) -> int:
    """Numbers of a row of the packed matrix: whole tiles."""
    return round_up(padded(block.sizes["columns"]), tile.columns)


def _texels(block: Block, tile: Tile) -> int:
    return block.sizes["inner"] * matrix_width(block, tile) // TEXEL


def emit_product(block: Block, family: Family, tile: Tile) -> OpenClUnit:
    """``out[rows x columns] = epilogue(in[rows x inner] * weights[inner x columns])``."""
    rows, inner, columns = (block.sizes[name] for name in ("rows", "inner", "columns"))
    epilogue = epilogue_of(block, columns, matrix_bytes(block, inner * matrix_width(block, tile)))
    loops = _Loops(block, tile)
    axes = (1, 0) if tile.panels else (0, 1)
    body = (
        f"  const int column = get_global_id({axes[0]}) * {tile.columns};\n"
        f"  const int row = get_global_id({axes[1]}) * {tile.rows};\n"
        f"  if (column >= {columns} || row >= {rows}) return;\n"
        f"{loops.beginning()}{loops.over_inner()}{loops.ending(epilogue.statements)}"
    )
    items, group = (-(-columns // tile.columns), -(-rows // tile.rows)), tile.group
    if tile.panels:
        items, group = (items[1], items[0]), (group[1], group[0])
    operands = block.operand_count
    kernel = make_kernel(block, "", tile.width, body, items, group, operands=operands, image=tile.image)
    return OpenClUnit(block, (kernel, *row_function(block, family, columns, epilogue, operands)), tile)


@dataclass(frozen=True)
class _Loops:
    """The parts of a product's body."""

    block: Block
    tile: Tile

    @property
    def vectors(self) -> int:
        return self.tile.columns // self.tile.width

    def sums(self) -> Iterator[tuple[int, int]]:
        """(row, vector) of each sum of a tile."""
        return ((row, vector) for row in range(self.tile.rows) for vector in range(self.vectors))

    def beginning(self) -> str:
        """Pointers to the rows of activations, beyond the last one to the last, and to the weights; sums of zero."""
        rows, stride = self.block.sizes["rows"], operand_stride(self.block, 0, self.block.sizes["inner"])
        text, number = "", access(self.block, 0).number
        for row in range(self.tile.rows):
            at = f"min(row + {row}, {rows - 1})" if rows % self.tile.rows else f"(row + {row})"
            text += f"  global const {number} *a{row} = in0 + {at} * {stride};\n"
        if self.tile.panels:
            start = f"column * {self.block.sizes['inner']}"
            text += f"  global const pb_number *b = (global const pb_number *)weights + {start};\n"
        elif self.tile.image:
            text += f"  const int b = column / {TEXEL};\n"
        else:
            text += "  global const pb_number *b = (global const pb_number *)weights + column;\n"
        return text + "".join(f"  pb_vec s{row}_{vector} = pb_splat(0.0f);\n" for row, vector in self.sums())

    def over_inner(self) -> str:
        """The loop over the inner dimension, a few numbers of each row at a time, and those that are left."""
        inner, depth = self.block.sizes["inner"], self.tile.depth
        whole = inner // depth * depth
        text = ""
        if whole:
            text += f"  for (int k = 0; k < {whole}; k += {depth}) {{\n{self._loads(depth)}"
            text += "".join(self._step(step, depth) for step in range(depth)) + "  }\n"
        if inner > whole:
            text += f"  for (int k = {whole}; k < {inner}; k++) {{\n{self._loads(1)}{self._step(0, 1)}  }}\n"
        return text

    def _loads(self, depth: int) -> str:
        source = access(self.block, 0)
        type_, load = ("float4", source.load4) if depth == TEXEL else ("float", source.load1)
        return "".join(f"    const {type_} x{row} = {load(f'a{row} + k')};\n" for row in range(self.tile.rows))

    def _step(self, step: int, depth: int) -> str:
        """One number of each row, times one row of weights."""
        part = f".s{step}" if depth == TEXEL else ""
        text = "    {\n"
        for vector in range(self.vectors):
            text += f"      const pb_vec w{vector} = {self._weights(step, vector)};\n"
        for row, vector in self.sums():
            text += f"      s{row}_{vector} = mad(pb_splat(x{row}{part}), w{vector}, s{row}_{vector});\n"
        return text + "    }\n"

    def _weights(self, step: int, vector: int) -> str:
        row = f"(k + {step})" if step else "k"
        if self.tile.image:
            width = matrix_width(self.block, self.tile) // TEXEL
            return f"read_imagef(matrix, b + {row} * {width} + {vector})"
        width = self.tile.columns if self.tile.panels else matrix_width(self.block, self.tile)
        return f"pb_load(b + {row} * {width} + {vector * self.tile.width})"

    def ending(self, statements: tuple[str, ...]) -> str:
        """The epilogue, and what is stored of it: only rows and vectors that the result has."""
        rows, columns = self.block.sizes["rows"], self.block.sizes["columns"]
        text = ""
        for row, vector in self.sums():
            checks = [f"r < {rows}"] if rows % self.tile.rows else []
            checks += [f"n < {columns}"] if columns % self.tile.columns and vector else []
            text += (
                f"  {{\n    const int r = row + {row}, n = column + {vector * self.tile.width};\n"
                f"    pb_vec x = s{row}_{vector};\n"
            )
            inner = "".join(f"      {statement}\n" for statement in statements)
            inner += f"      {access(self.block, RESULT).store('x', f'out + r * {row_stride(columns)} + n')}\n"
            condition = f"if ({' && '.join(checks)}) " if checks else ""
            text += f"    {condition}{{\n{inner}    }}\n  }}\n"
        return text
