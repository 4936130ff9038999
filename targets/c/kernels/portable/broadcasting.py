"""Loops over the elements of a result whose operands broadcast by the rules of numpy.

The shapes are known, so the loops are written for them: axes of size 1 vanish, neighboring axes
that every operand walks through alike become one, and what does not change in an inner loop is
read before it. Tensors of one shape so have a single loop; a tensor and a value for each channel
have two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from intaglio.errors import InternalError
from intaglio.targets.c.network import Layer

#: Loop variables, outermost first.
_VARIABLES = "ijkmnpqr"

#: Statements that read an element of an operand, given its index.
Reader = Callable[[str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Nest:
    """Nested loops over a result.

    Attributes:
        sizes: Number of steps of each loop, outermost first; at least one loop.
        strides: For each operand the elements from one step to the next of each loop, 0 where it
            broadcasts.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def index(self, strides: Sequence[int]) -> str:
        """The element that the loop variables choose, as a C expression."""
        terms = [
            variable if stride == 1 else f"{variable} * {stride}"
            for variable, stride in zip(_VARIABLES, strides, strict=False)
            if stride
        ]
        return " + ".join(terms) or "0"


def nest_of(result: Sequence[int], operands: Sequence[Sequence[int]]) -> Nest:
    """The loops over ``result``.

    Args:
        result: Its shape.
        operands: Shapes that broadcast to it.

    Raises:
        InternalError: A shape does not broadcast to that of the result.
    """
    rank = len(result)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in operands]
    for shape in padded:
        fits = len(shape) == rank and all(
            size in (1, whole) for size, whole in zip(shape, result, strict=True)
        )
        if not fits:
            raise InternalError(f"a shape {shape} does not broadcast to {tuple(result)}")
    walks = [_contiguous(shape) for shape in padded]
    sizes: list[int] = []
    strides: list[list[int]] = []
    for axis, size in enumerate(result):
        if size == 1:
            continue
        steps = [walk[axis] for walk in walks]
        if sizes and all(o == i * size for o, i in zip(strides[-1], steps, strict=True)):
            sizes[-1] *= size
            strides[-1] = steps
        else:
            sizes.append(size)
            strides.append(steps)
    if not sizes:
        sizes, strides = [1], [[0] * len(walks)]
    if len(sizes) > len(_VARIABLES):
        raise InternalError(f"a result of shape {tuple(result)} needs {len(sizes)} loops")
    return Nest(tuple(sizes), tuple(zip(*strides, strict=True)))


def broadcast_loops(layer: Layer, readers: Sequence[Reader], body: Callable[[str], str]) -> str:
    """The loops over a layer's output.

    Args:
        layer: The layer.
        readers: For each operand, the statements that read an element and prepare it. They stand in
            the innermost loop that the element depends on.
        body: Statements that make an element of the output, given its index.

    Returns:
        Statements; for an empty output those that use nothing.
    """
    if not layer.output.size:
        return nothing(layer)
    operands = [tensor.shape for tensor in layer.inputs[: len(readers)]]
    nest = nest_of(layer.output.shape, operands)
    lines: list[str] = []

    def read(depth: int) -> None:
        for reader, strides in zip(readers, nest.strides, strict=True):
            if depth == max((at + 1 for at, stride in enumerate(strides) if stride), default=0):
                lines.extend("    " * depth + line for line in reader(nest.index(strides)))

    read(0)
    for depth, size in enumerate(nest.sizes):
        variable = _VARIABLES[depth]
        head = f"for (int32_t {variable} = 0; {variable} < {size}; {variable}++) {{"
        lines.append("    " * depth + head)
        read(depth + 1)
    inside = "    " * len(nest.sizes)
    output = nest.index(_contiguous(nest.sizes))
    lines += [inside + line for line in body(output).splitlines()]
    lines += ["    " * depth + "}" for depth in reversed(range(len(nest.sizes)))]
    return "\n".join(lines)


def flat_loop(count: int, body: str, variable: str = "i") -> str:
    """``body`` for each of ``count`` elements."""
    lines = [f"    {line}" for line in body.splitlines()]
    head = f"for (int32_t {variable} = 0; {variable} < {count}; {variable}++) {{"
    return "\n".join([head, *lines, "}"])


def nothing(layer: Layer) -> str:
    """Statements for an empty output: they name the arguments, so that no compiler complains."""
    names = [f"x{place}" for place, tensor in enumerate(layer.inputs) if tensor.data is None]
    return "\n".join(f"(void){name};" for name in [*names, "y"])


def overwritable(layer: Layer) -> tuple[int, ...]:
    """Inputs whose memory the output may take where each element is read just before its result.

    Those of the output's shape whose elements are not narrower than its own: an element is then
    never written before it, or one behind it, is read.
    """
    return tuple(
        place
        for place, tensor in enumerate(layer.inputs)
        if tensor.data is None
        and tensor.shape == layer.output.shape
        and tensor.itemsize >= layer.output.itemsize
    )


def centered(value: str, zero_point: int) -> str:
    """``value - zero_point`` as C text."""
    if not zero_point:
        return value
    return f"{value} {'-' if zero_point > 0 else '+'} {abs(zero_point)}"


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous array, 0 for axes of size 1."""
    return tuple(
        0 if size == 1 else math.prod(shape[axis + 1 :]) for axis, size in enumerate(shape)
    )
