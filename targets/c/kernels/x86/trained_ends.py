"""How tiles of trained convolutions end: accumulators to results, in one of three ways.

========== ==================================================================================
narrow     32-bit sums to int8 by the vector tail of other convolutions (:mod:`.tails`)
wide       64-bit sums to int8: multiplier of 15 bits, one addend, one shift (:mod:`.trained_wide`)
in memory  everything else, by the portable output stage: int32 for a loss, double arithmetic
========== ==================================================================================
"""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.kernels.portable.constants import largest_magnitude
from intaglio.targets.c.kernels.portable.stage import Stage, output_stage
from intaglio.targets.c.kernels.portable.trained import is_wide
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.stores import Result, tail_functions, write_results
from intaglio.targets.c.kernels.x86.tails import Tail, make_tail
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import TrainedConvolution

INT32_LIMIT = 1 << 31


def products_of(layer: TrainedConvolution) -> int:
    """Products that a sum of int32 takes for certain."""
    return (INT32_LIMIT - 1) // max(1, layer.limit * largest_magnitude(layer.inputs[0]))


def bound_of(layer: TrainedConvolution) -> NDArray[np.int64]:
    """Largest magnitude of each filter's accumulator, for any weights within the limit."""
    count = int(np.prod(layer.weights_shape[1:]))
    bound = count * layer.limit * largest_magnitude(layer.inputs[0]) + np.abs(layer.bias)
    if len(layer.inputs) > 2:
        bound = bound + INT32_LIMIT
    # Where the layer says so, sums fit with every bias that training reaches.
    return np.asarray(bound if is_wide(layer) else np.minimum(bound, INT32_LIMIT - 1))


@dataclasses.dataclass(frozen=True, eq=False)
class End(abc.ABC):
    """The end of a tile.

    Attributes:
        isa: Registers.
        wide: Accumulators are pairs of registers of int64, named ``<name>l`` and ``<name>h``; else
            one of int32, ``<name>``.
        parameter: C parameters of a tile for it.
        declaration: Statements before the tiles; may be empty.
        functions: What its statements call.
        arrays: What its arguments point to.
    """

    isa: Isa
    wide: bool
    parameter: str
    declaration: str
    functions: tuple[Function, ...]
    arrays: tuple[Array, ...]

    @abc.abstractmethod
    def argument(self, register: str) -> str:
        """C arguments for the channels of a register, a C expression, and those behind it."""

    @abc.abstractmethod
    def finish(self, names: list[list[str]], channels: int, pitch: int) -> list[str]:
        """Statements that write the results to ``y``.

        Args:
            names: Accumulators, by pixel and by register.
            channels: Channels of the registers that exist.
            pitch: Channels of an output pixel.
        """


def results_of(names: list[list[str]], lanes: int, channels: int, pitch: int) -> list[Result]:
    """The registers of a tile and where their results go."""
    return [
        Result(name, p * pitch + v * lanes, min(lanes, channels - v * lanes))
        for p, row in enumerate(names)
        for v, name in enumerate(row)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class NarrowEnd(End):
    """By a vector tail, whose parameters lie ``[registers, 4, lanes]``.

    Attributes:
        tail: The tail.
    """

    tail: Tail

    def argument(self, register: str) -> str:
        """The tail's constants."""
        return f"@tail@ + {register} * {4 * self.isa.lanes}"

    def finish(self, names: list[list[str]], channels: int, pitch: int) -> list[str]:
        """Rescales each register, then packs and stores."""
        lanes = self.isa.lanes
        lines = [f"{self.isa.type} packed;"]
        for v in range(len(names[0])):
            lines += self.tail.constants(v, "tail", v * 4 * lanes)
            lines += [self.tail.apply(row[v], v) for row in names]
        return lines + write_results(self.tail, results_of(names, lanes, channels, pitch), "")


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryEnd(End):
    """Through an array on the stack, by the portable output stage.

    Attributes:
        stage: The stage.
    """

    stage: Stage

    def argument(self, register: str) -> str:
        """The stage, and the first channel."""
        return f"&stage, {register} * {self.isa.lanes}"

    def finish(self, names: list[list[str]], channels: int, pitch: int) -> list[str]:
        """Stores the registers, then calls the stage for each pixel."""
        lanes, half = self.isa.lanes, self.isa.lanes // 2
        store, kind = self.isa.store.name, "int64_t" if self.wide else "int32_t"
        lines = [f"{kind} sums[{len(names[0]) * lanes}];"]
        for p, row in enumerate(names):
            for v, name in enumerate(row):
                if self.wide:
                    lines.append(f"{store}(sums + {v * lanes}, {name}l);")
                    lines.append(f"{store}(sums + {v * lanes + half}, {name}h);")
                else:
                    lines.append(f"{store}(sums + {v * lanes}, {name});")
            lines.append(
                f"{self.stage.finish.name}(sums, {channels}, stage, (int32_t)channel,"
                f" y + {p * pitch});"
            )
        return lines


def memory_end(layer: TrainedConvolution, isa: Isa, wide: bool) -> MemoryEnd:
    """The end that takes every layer."""
    stage = output_stage(layer.rescale, c_type(layer.output.dtype), wide=wide)
    return MemoryEnd(
        isa,
        wide,
        f"const struct {stage.struct} *stage, size_t channel",
        stage.declaration,
        (stage.finish, isa.store),
        stage.arrays,
        stage,
    )


def narrow_end(layer: TrainedConvolution, isa: Isa) -> NarrowEnd | None:
    """The vector tail of 32-bit sums, or None where its arithmetic does not hold."""
    if layer.output.dtype != "int8":
        return None
    tail = make_tail(isa, layer.rescale, np.zeros_like(layer.bias), bound_of(layer), "int8")
    if tail is None:
        return None
    arrays = (Array("tail", tail.parameters),)
    return NarrowEnd(isa, False, "const int32_t *tail", "", tail_functions(tail), arrays, tail)
