"""C of a product of a few rows with an unpacked matrix that lies in cache, as attention needs it."""

from __future__ import annotations

from collections.abc import Collection

from fusion.emit.c.tiling import choose_tiling, row_pieces
from fusion.target import Target


def product_function(
    name: str,
    counts: Collection[int],
    columns: int,
    target: Target,
    *,
    transposed: bool = False,
    add: bool = False,
) -> str:
    """``name(a, a_stride, b, b_stride, c, c_stride, depth, count)``: c[count x columns] (+)= a * b[depth x columns].

    ``count`` is one of ``counts``; a ``transposed`` a holds depth x count. Lanes of the last vector beyond ``columns``
    are computed and stored, too.
    """
    tiling = choose_tiling(max(counts), columns, columns, target)
    vectors = -(-columns // target.lanes)
    whole, rest = divmod(vectors, tiling.vectors)
    row_step, depth_step = ("1", "a_stride") if transposed else ("a_stride", "1")
    text = (
        f"static void {name}(const float *a, long a_stride, const float *b, long b_stride, float *c, long c_stride, "
        f"long depth, int count) {{\n"
    )
    for width, first, last in ((tiling.vectors, 0, whole * tiling.vectors), (rest, whole * tiling.vectors, vectors)):
        if first == last:
            continue
        step = width * target.lanes
        text += f"  for (int n = {first * target.lanes}; n < {last * target.lanes}; n += {step}) {{\n    int r = 0;\n"
        for index, count in enumerate(sorted(set(counts))):
            text += f"    {'else ' if index else ''}if (count == {count}) {{\n" if len(set(counts)) > 1 else ""
            end = 0
            for height, number in row_pieces(count, tiling.rows):
                end += height * number
                text += (
                    f"    for (; r < {end}; r += {height})\n"
                    f"      pb_tile({height}, {width}, {int(add)}, a + r * {row_step}, {row_step}, {depth_step}, "
                    f"b + n, b_stride, c + r * c_stride + n, c_stride, depth);\n"
                )
            text += "    }\n" if len(set(counts)) > 1 else ""
        text += "  }\n"
    return text + "}\n\n"
