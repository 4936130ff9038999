"""Sums, largest and smallest values over axes, in one C function for each pattern of axes.

Neighbouring axes that are both reduced or both kept act as one, axes of size 1 as none. So the mean
over rows and columns of an image has the pattern ``rk``, over the last axis of a matrix ``kr``.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Reduction


@dataclasses.dataclass(frozen=True)
class _Words:
    """C text of what a reduction does with its elements.

    Attributes:
        acc: Type of an accumulator.
        start: What it begins with.
        step: Takes in an element.
        finish: Function that makes results of accumulators; empty where they are the results.
    """

    acc: str
    start: str
    step: str
    finish: str


def reduce_axes(layer: Reduction, variant: str, budget: int) -> Implementation | None:
    """Code of a reduction."""
    tensor = layer.inputs[0]
    x, y = c_type(tensor.dtype), c_type(layer.output.dtype)
    pattern, sizes = _pattern(tensor.shape, layer.axes)
    arguments = [str(size) for size in sizes]
    parameters = [f"int32_t n{axis}" for axis in range(len(sizes))]
    parts = ["reduce", layer.kind, pattern, tensor.dtype]
    lowest = int(np.iinfo(tensor.dtype).min)
    declaration = ""
    arrays: tuple[Array, ...] = ()
    needs: tuple[Function, ...] = ()
    if layer.rescale is None:
        sign, start = (">", lowest) if layer.kind == "max" else ("<", -1 - lowest)
        words = _Words(x, str(start), f"ACC = line[k] {sign} ACC ? line[k] : ACC;", "")
    else:
        count = tensor.size // max(1, layer.output.size)
        wide = count * -lowest + abs(layer.offset) >= 1 << 31
        stage = output_stage(layer.rescale, y, wide=wide)
        words = _Words(
            "int64_t" if wide else "int32_t", "offset", "ACC += line[k];", stage.finish.name
        )
        parts += [
            *(["wide_sum"] if wide else []),
            *([f"to_{y[:-2]}"] if y != x else []),
            stage.name,
        ]
        arguments += [number(layer.offset), "&stage"]
        parameters += [f"{words.acc} offset", f"const struct {stage.struct} *stage"]
        declaration, arrays, needs = stage.declaration + "\n", stage.arrays, (stage.finish,)
    name = "_".join(parts)
    text = _function(name, pattern, x, y, parameters, words)
    return Implementation(
        call=f"{declaration}{name}(x0, {', '.join(arguments)}, y);",
        functions=(Function(name, text, needs),),
        arrays=arrays,
    )


def _pattern(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[str, list[int]]:
    """Letter and size of each group of axes: ``r`` is reduced, ``k`` kept."""
    letters = [("r" if axis in axes else "k", size) for axis, size in enumerate(shape) if size != 1]
    pattern, sizes = "", []
    for letter, group in itertools.groupby(letters, key=lambda pair: pair[0]):
        pattern += letter
        sizes.append(int(np.prod([size for _, size in group])))
    return (pattern, sizes) if pattern else ("r", [1])


def _function(name: str, pattern: str, x: str, y: str, parameters: list[str], words: _Words) -> str:
    """The C function: loops over kept axes, in them loops over reduced axes, in them a line."""
    last = len(pattern) - 1
    kept = [axis for axis in range(last) if pattern[axis] == "k"]
    reduced = [axis for axis in range(last) if pattern[axis] == "r"]
    is_chunked = pattern[last] == "k"
    acc = "acc[k]" if is_chunked else "acc"
    names = ", ".join(["k", *(["first"] if is_chunked else []), *(f"i{a}" for a in range(last))])
    lines = [
        f"/* Axes, r reduced and k kept: {pattern}. */",
        f"static void {name}(const {x} *x, {', '.join(parameters)}, {y} *y)",
        "{",
        f"    int32_t {names};",
    ]
    depth = 1

    def write(text: str) -> None:
        lines.append("    " * depth + text)

    def loop(index: str, end: str) -> None:
        nonlocal depth
        write(f"for ({index} = 0; {index} < {end}; {index}++) {{")
        depth += 1

    def close() -> None:
        nonlocal depth
        depth -= 1
        write("}")

    for axis in kept:
        loop(f"i{axis}", f"n{axis}")
    length = f"n{last}"
    if is_chunked:
        write(f"for (first = 0; first < {length}; first += 32) {{")
        depth += 1
        write(f"const int32_t part = {length} - first < 32 ? {length} - first : 32;")
        write(f"{words.acc} acc[32];")
        length = "part"
        loop("k", length)
        write(f"acc[k] = {words.start};")
        close()
    else:
        write("{")
        depth += 1
        write(f"{words.acc} acc = {words.start};")
    for axis in reduced:
        loop(f"i{axis}", f"n{axis}")
    write("{")
    depth += 1
    write(f"const {x} *line = x{_place(last)}{' + first' if is_chunked else ''};")
    loop("k", length)
    write(words.step.replace("ACC", acc))
    close()
    close()
    for _ in reduced:
        close()
    if words.finish:
        write(f"{words.finish}({'acc, part' if is_chunked else '&acc, 1'}, stage, 0, y);")
        write("y += part;" if is_chunked else "y++;")
    elif is_chunked:
        loop("k", length)
        write("*y++ = acc[k];")
        close()
    else:
        write("*y++ = acc;")
    close()
    for _ in kept:
        close()
    return "\n".join([*lines, "}"])


def _place(last: int) -> str:
    """Where the line of the axes ``i0`` and so on begins, as an offset."""
    if not last:
        return ""
    text = "i0"
    for axis in range(1, last):
        text = f"({text} * n{axis} + i{axis})"
    return f" + {text} * n{last}"
