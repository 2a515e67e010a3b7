"""Loops in assembly: found in a function's control flow, and unrolled to the straight line that a core runs through.

Where a pass through a loop may go two ways, the one with more instructions is taken: guards let pass, masks are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from data.errors import ToolchainError

# How comments begin, and how an instruction jumps to a label: always, or under a condition.
_COMMENTS = MappingProxyType({"aarch64": "//", "x86_64": "#"})
_JUMPS = MappingProxyType(
    {
        "aarch64": re.compile(r"b (?P<always>\S+)$|(b\.\w+|cbn?z|tbn?z) (.*, )?(?P<maybe>\S+)$"),
        "x86_64": re.compile(r"jmp (?P<always>\S+)$|j\w+ (?P<maybe>\S+)$"),
    }
)
_CALL = re.compile(r"(bl|blr|callq?) ")
_RETURN = re.compile(r"retq?\b")
_LABEL = re.compile(r"(\S+):$")


@dataclass(frozen=True)
class Loop:
    """Instructions and inner loops in the order in which one pass goes through them, its jump back included."""

    body: tuple[str | Loop, ...]

    @property
    def inner(self) -> tuple[Loop, ...]:
        """The loops inside, in order."""
        return tuple(part for part in self.body if isinstance(part, Loop))

    def instructions(self) -> Iterator[str]:
        """Its own instructions and those of inner loops, once each."""
        for part in self.body:
            yield from part.instructions() if isinstance(part, Loop) else (part,)

    def unrolled(self, times: Mapping[Loop, int]) -> tuple[str, ...]:
        """One pass as a straight line, in which each inner loop goes round so often."""
        line: list[str] = []
        for part in self.body:
            line += [part] if isinstance(part, str) else part.unrolled(times) * times[part]
        return tuple(line)


def loops_of(assembly: str, function: str, machine: str) -> tuple[Loop, ...]:
    """The outermost loops of a function, in the order in which they stand.

    Raises:
        ToolchainError: there is no such function, or it calls another from a loop.
    """
    flow = _flow(_lines(assembly, function, machine), machine)
    loops = _natural_loops(flow)
    outermost = [head for head, body in loops.items() if not any(head in other for other in _others(loops, head))]
    return tuple(_loop(flow, loops, head) for head in sorted(outermost))


@dataclass(frozen=True)
class _Flow:
    """Basic blocks: their instructions, and which blocks follow each."""

    blocks: tuple[tuple[str, ...], ...]
    following: tuple[tuple[int, ...], ...]


def _lines(assembly: str, function: str, machine: str) -> list[str]:
    """Instructions and labels of a function, without comments and directives."""
    lines: list[str] = []
    inside = False
    for raw in assembly.splitlines():
        line = re.sub(r"\s+", " ", raw.partition(_COMMENTS[machine])[0].strip())
        if line == f"{function}:":
            inside = True
        elif inside and line.startswith(".Lfunc_end"):
            return lines
        elif inside and line and (not line.startswith(".") or _LABEL.match(line)):
            lines.append(line)
    raise ToolchainError(f"the assembly holds no whole function {function}")


def _flow(lines: Sequence[str], machine: str) -> _Flow:
    blocks: list[list[str]] = [[]]
    places: dict[str, int] = {}
    for line in lines:
        label, jump = _LABEL.match(line), _JUMPS[machine].match(line)
        if label:
            if blocks[-1]:
                blocks.append([])
            places[label[1]] = len(blocks) - 1
        else:
            blocks[-1].append(line)
            if jump or _RETURN.match(line):
                blocks.append([])
    following = []
    for place, block in enumerate(blocks):
        jump = _JUMPS[machine].match(block[-1]) if block else None
        targets = [places[to] for to in (jump["always"], jump["maybe"]) if to in places] if jump else []
        if place + 1 < len(blocks) and not (jump and jump["always"]) and not (block and _RETURN.match(block[-1])):
            targets.append(place + 1)
        following.append(tuple(targets))
    return _Flow(tuple(tuple(block) for block in blocks), tuple(following))


def _natural_loops(flow: _Flow) -> dict[int, frozenset[int]]:
    """The blocks of each loop by its head: the block that every way into it goes through."""
    dominators = _dominators(flow)
    loops: dict[int, set[int]] = {}
    before: dict[int, list[int]] = {}
    for place, targets in enumerate(flow.following):
        for target in targets:
            before.setdefault(target, []).append(place)
    for place, targets in enumerate(flow.following):
        for head in set(targets) & dominators.get(place, frozenset()):
            body, waiting = loops.setdefault(head, {head}), [place]
            while waiting:
                block = waiting.pop()
                if block not in body:
                    body.add(block)
                    waiting += before.get(block, [])
    return {head: frozenset(body) for head, body in loops.items()}


def _dominators(flow: _Flow) -> dict[int, frozenset[int]]:
    """The blocks that every way from the function's start to a block goes through, itself included."""
    found: dict[int, frozenset[int]] = {0: frozenset({0})}
    changed = True
    while changed:
        changed = False
        for place in sorted(found):
            for target in flow.following[place]:
                through = found[place] | {target}
                known = found.get(target)
                new = through if known is None else (known & through) | {target}
                if new != known:
                    found[target], changed = new, True
    return found


def _others(loops: Mapping[int, frozenset[int]], head: int) -> list[frozenset[int]]:
    return [body for other, body in loops.items() if other != head]


def _loop(flow: _Flow, loops: Mapping[int, frozenset[int]], head: int) -> Loop:
    """The loop of that head, the longest way through it."""
    body = loops[head]
    owner = {block: _outermost_within(loops, head, block) for block in body}
    made = {inner: _loop(flow, loops, inner) for inner in set(owner.values()) if inner is not None}
    ways: dict[int, tuple[int, tuple[str | Loop, ...]] | None] = {}

    def longest(node: int) -> tuple[int, tuple[str | Loop, ...]] | None:
        """Instructions from a block, or an inner loop's head, to the jump back: how many, and which."""
        if node in ways:
            return ways[node]
        inside = loops[node] if node in made else frozenset({node})
        own: tuple[str | Loop, ...] = (made[node],) if node in made else flow.blocks[node]
        if calls := [part for part in own if isinstance(part, str) and _CALL.match(part)]:
            raise ToolchainError(f"a loop calls a function: {calls[0]}")
        exits = {target for block in inside for target in flow.following[block] if target not in inside - {node}}
        onward = [longest(_entered(owner, target)) for target in exits if target in body - {head} - inside]
        ends = [(0, ())] if head in exits else []
        best = max((way for way in (*onward, *ends) if way is not None), key=lambda way: way[0], default=None)
        size = sum(1 for part in own for _ in ([part] if isinstance(part, str) else part.instructions()))
        ways[node] = None if best is None else (best[0] + size, (*own, *best[1]))
        return ways[node]

    way = longest(head)
    assert way is not None, "a loop that never goes back is none"
    return Loop(way[1])


def _outermost_within(loops: Mapping[int, frozenset[int]], head: int, block: int) -> int | None:
    """The head of the largest loop inside the one of ``head`` that holds a block."""
    inside = [inner for inner, body in loops.items() if inner != head and inner in loops[head] and block in body]
    return max(inside, key=lambda inner: len(loops[inner]), default=None)


def _entered(owner: Mapping[int, int | None], block: int) -> int:
    """The block, or the head of the inner loop that it belongs to."""
    inner = owner[block]
    return block if inner is None else inner
