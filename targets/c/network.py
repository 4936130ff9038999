"""An integer graph as the layers that C functions compute.

A layer is what one function of the emitted C does: a convolution with its bias and rescale, a sum
of two tensors, a copy. Everything is static: shapes, constants, and the quantization of every
tensor. Batch is one; four-dimensional tensors are channels last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.fixed_point import Rounding


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """An activation, or a constant operand. Two tensors are equal if they are the same object.

    Attributes:
        name: As in the graph.
        shape: Sizes, channels last where there are four, the batch of 1 included.
        dtype: numpy name: ``int8``, ``int16``; ``float32`` at a float border.
        scale: Real value of one step; 0 where the integers have none.
        zero_point: The integer that stands for 0.
        source: Name of the source model's tensor it stands for; empty where there is none.
        data: The numbers of a constant operand, None for an activation.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    source: str = ""
    data: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.size * self.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Rescale:
    """``clip(round(acc * multiplier * 2^-shift) + zero_point, minimum, maximum)``.

    Attributes:
        rounding: How to round, see :mod:`intaglio.transforms.fixed_point`.
        multiplier: int64, ``[1]`` or one per output channel; Q31, or a 53-bit mantissa (``real``).
        shift: int64, the shape of ``multiplier``; total right shift.
        zero_point: Zero point of the result.
        minimum: Smallest result.
        maximum: Largest result.
    """

    rounding: Rounding
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_point: int = 0
    minimum: int = -(1 << 31)
    maximum: int = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One function of the emitted C.

    Attributes:
        name: Name of the layer, that of its result in the graph.
        inputs: Tensors it reads, in order; constants among them have ``data``.
        output: Tensor it makes.
        sources: Names of the source model's nodes it comes from.
    """

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Where the elements of a two-dimensional window lie.

    Attributes:
        image: Rows, columns and channels of the input.
        result: Rows, columns and channels of the output.
        kernel: Rows and columns of the window.
        strides: Steps from one window to the next.
        dilations: Distance of the window's elements.
        pads: Rows and columns of padding: top, left (the end follows from ``result``).
    """

    image: tuple[int, int, int]
    result: tuple[int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution(Layer):
    """``rescale(sum of (x - x_zero_point) * (w - w_zero_point) + bias)``.

    Fully connected layers are convolutions of one row, ``image = (1, rows, K)``, with a 1x1 kernel.
    Padding stands for the zero point, that is, it adds nothing.

    Attributes:
        window: Geometry.
        weights: int8 ``[O, kh, kw, I / groups]``.
        bias: int64 ``[O]``.
        groups: Number of groups; depthwise where it equals the input's channels.
        weight_zero_point: Zero point of the weights, nearly always 0.
        rescale: From accumulator to result, per channel or for all.
        wide: The accumulator needs 64 bits; else it is proved to fit 32 (without the part of the
            zero points too: ``sum |w| * 255 + |bias| < 2^31``).
    """

    window: Window
    weights: NDArray[np.int8]
    bias: NDArray[np.int64]
    rescale: Rescale
    groups: int = 1
    weight_zero_point: int = 0
    wide: bool = False

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads one input channel."""
        return self.groups > 1 and self.weights.shape[3] == 1

    @property
    def macs(self) -> int:
        """Multiplications of one inference, padding included."""
        rows, columns, _ = self.window.result
        return int(rows * columns * self.weights.size)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedConvolution(Layer):
    """int8 convolution with int16 weights that may change: ``rescale(sum (x - z) * w + bias)``.

    ``inputs[1]`` holds the weights: int16 ``[O, kh, kw, I / groups]``, a constant, or a tensor in
    memory that training changes. ``inputs[2]``, where there is one, is a bias that is trained:
    int32 ``[O]``, added to ``bias``. The output is int8, or int32 where a loss reads it. Fully
    connected layers are convolutions of one row, as in :class:`Convolution`.

    Attributes:
        window: Geometry.
        bias: int64 ``[O]``, the part that does not change.
        rescale: From accumulator to result, one for all channels or one for each.
        groups: Number of groups; depthwise where it equals the input's channels.
        limit: No weight exceeds this magnitude, probes included.
        wide: The accumulator needs 64 bits for some weights within the limit; else
            ``K * limit * 255 + |bias| < 2^31``, for any weights.
    """

    window: Window
    bias: NDArray[np.int64]
    rescale: Rescale
    groups: int = 1
    limit: int = 32767
    wide: bool = False

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """``O, kh, kw, I / groups``."""
        return self.inputs[1].shape

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads one input channel."""
        return self.groups > 1 and self.weights_shape[3] == 1

    @property
    def macs(self) -> int:
        """Multiplications of one inference, padding included."""
        rows, columns, _ = self.window.result
        return rows * columns * math.prod(self.weights_shape)


@dataclasses.dataclass(frozen=True, eq=False)
class TransposedConvolution(Layer):
    """The gradient of a convolution as a layer; ``y[i*stride + k*dilation - pad] += x[i] * w[k]``.

    Attributes:
        window: Geometry; ``kernel``, ``strides`` and so on act on the output.
        weights: int8 ``[O, kh, kw, I / groups]``.
        bias: int64 ``[O]``.
        groups: Number of groups.
        rescale: From accumulator to result, per channel or for all.
        wide: The accumulator needs 64 bits.
    """

    window: Window
    weights: NDArray[np.int8]
    bias: NDArray[np.int64]
    rescale: Rescale
    groups: int = 1
    wide: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Product(Layer):
    """Matrix product of two activations: ``[B, M, K] x [B or 1, K, N]``.

    Attributes:
        batches: Index of the first and the second operand's matrix for each result matrix.
        sizes: ``M, K, N``.
        rescale: From accumulator to result, one for all.
        wide: The accumulator needs 64 bits.
    """

    batches: tuple[tuple[int, int], ...]
    sizes: tuple[int, int, int]
    rescale: Rescale
    wide: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Sum(Layer):
    """``rescale(f(a) + sign * f(b))``, ``f(v) = rescale_v((v - zero_point) << left_shift)``.

    Attributes:
        sign: 1, or -1 for a difference.
        left_shift: 20, or 15 for int16.
        first: Rescale of the first operand.
        second: Rescale of the second operand.
        rescale: Of the sum. Operands broadcast by the rules of numpy.
    """

    sign: int
    left_shift: int
    first: Rescale
    second: Rescale
    rescale: Rescale


@dataclasses.dataclass(frozen=True, eq=False)
class Multiplication(Layer):
    """``rescale((a - zero_point) * (b - zero_point))`` of two broadcast operands."""

    rescale: Rescale


@dataclasses.dataclass(frozen=True, eq=False)
class Extreme(Layer):
    """The larger (``largest``) or smaller of two or more broadcast operands of one quantization."""

    largest: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Requantization(Layer):
    """``rescale(x - zero_point)``, or of its magnitude: to another scale, or clamped.

    Attributes:
        rescale: One for all.
        magnitude: Take the absolute value first.
    """

    rescale: Rescale
    magnitude: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class PRelu(Layer):
    """``v = x - zero_point; v >= 0 ? positive(v) : negative(v * slope)``.

    ``inputs[1]`` holds the slopes (a constant, zero point 0), broadcastable to the input.
    """

    positive: Rescale
    negative: Rescale


@dataclasses.dataclass(frozen=True, eq=False)
class Table(Layer):
    """``table[x + 128]``; ``[256]``, or ``[C, 256]`` with a table for each last-axis channel."""

    table: NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class IndexedTables:
    """A table for every tap; x reads row ``clamp(((x >> shift) & mask) - low, 0, rows - 1)``.

    Attributes:
        tables: int8 or int16 ``[kh * kw * I / groups, rows, O]``; taps row by row, the channels of
            a tap together.
        shift: Bits of x that the index drops.
        mask: Bits that it keeps then.
        low: Index of row 0.
    """

    tables: NDArray[Any]
    shift: int = 0
    mask: int = -1
    low: int = -128


@dataclasses.dataclass(frozen=True, eq=False)
class AdditiveTables(Layer):
    """``rescale(sum over branches and taps of tables[tap, row(x), o] + bias)``: AdditiveLut.

    Outside the image x is ``pad_value``. Sums are proved to fit int32, in any order.

    Attributes:
        window: Geometry.
        branches: The tables; two where the bits of x are split.
        bias: int64 ``[O]``.
        rescale: From sum to result, per channel or for all.
        groups: Number of groups; outputs of a group read its channels.
        pad_value: What x is in the border.
    """

    window: Window
    branches: tuple[IndexedTables, ...]
    bias: NDArray[np.int64]
    rescale: Rescale
    groups: int = 1
    pad_value: int = 0

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads one input channel."""
        return self.groups > 1 and self.groups == self.window.image[2]

    @property
    def lookups(self) -> int:
        """Table entries added in one inference, padding included."""
        rows, columns, filters = self.window.result
        return rows * columns * filters * sum(len(branch.tables) for branch in self.branches)


@dataclasses.dataclass(frozen=True, eq=False)
class InterpolatedTable(Layer):
    """``i = (x + 32768) >> 7, d = x & 127; t[i] + (((t[i+1] - t[i])*d + 64) >> 7)``, ``[513]``."""

    table: NDArray[np.int16]


@dataclasses.dataclass(frozen=True, eq=False)
class Sigmoid16(Layer):
    """SigmoidInteger16 or TanhInteger16 of the dialect (``passes/dialect/lookup.py``).

    Attributes:
        table: Its entries, as the node has them.
        multiplier: The node's multiplier.
        shift: The node's shift.
        tanh: Whether it is the hyperbolic tangent.
    """

    table: NDArray[Any]
    multiplier: int
    shift: int
    tanh: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Pool(Layer):
    """Largest value or average of each window; see AveragePoolInteger for the rounding.

    Attributes:
        window: Geometry; ``result`` states how many windows there are (``ceil_mode`` included).
        average: Average of the valid elements, ties away from zero; else the largest.
    """

    window: Window
    average: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Reduction(Layer):
    """``rescale(sum + offset)``, or the largest or smallest element, over some axes.

    Attributes:
        axes: Reduced axes of the input, ascending, counted from 0.
        kind: ``sum`` (means too: the division is part of the scale), ``max`` or ``min``.
        offset: Added to the sum.
        rescale: Of the sum; None for ``max`` and ``min``.
    """

    axes: tuple[int, ...]
    kind: str
    offset: int = 0
    rescale: Rescale | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Softmax(Layer):
    """SoftmaxInteger over the last axis of an int8 tensor (``passes/dialect/softmax.py``).

    Attributes:
        constants: The node's other inputs in order, by the name that the function gives them.
    """

    constants: dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Softmax16(Layer):
    """SoftmaxInteger16 over the last axis of an int16 tensor (``passes/dialect/softmax.py``).

    Attributes:
        constants: The node's other inputs in order, by the name that the function gives them.
    """

    constants: dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class ResizeLinear(Layer):
    """ResizeLinearInteger over rows and columns (``passes/dialect/resize.py``).

    Attributes:
        constants: The node's other inputs in order, by the name that the function gives them.
    """

    constants: dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Block:
    """A strided copy: ``y[to + sum i*to_strides] = x[start + sum i*strides]`` for ``i`` in sizes.

    Attributes:
        operand: Index of the input it copies from.
        sizes: Number of steps along each axis; empty copies one element.
        strides: Elements from one step to the next in the input, may be 0 or negative.
        start: Element of the input it begins at.
        to_strides: Elements from one step to the next in the output.
        to: Element of the output it begins at.
    """

    operand: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    to_strides: tuple[int, ...]
    to: int


@dataclasses.dataclass(frozen=True, eq=False)
class Move(Layer):
    """Values moved: Transpose, Slice, Concat, Pad, DepthToSpace, a copy, … as strided copies.

    Attributes:
        blocks: The copies; axes are merged and sorted, so that the last one has stride 1 on both
            sides wherever that is possible.
        fill: What the output is filled with first, None where the copies write every element.
    """

    blocks: tuple[Block, ...]
    fill: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Take(Layer):
    """``y[o, i, :] = x[o, indices[i], :]``: Gather, nearest resizing by any factor, Tile.

    Attributes:
        outer: Number of ``o``.
        length: Size of the indexed axis of the input.
        inner: Number of elements behind it.
        indices: int32, each in ``0 .. length - 1``.
    """

    outer: int
    length: int
    inner: int
    indices: NDArray[np.int32]


@dataclasses.dataclass(frozen=True, eq=False)
class Border(Layer):
    """QuantizeLinear or DequantizeLinear at a float border; the only layers with float in them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Variable:
    """Weights in memory that training changes.

    Attributes:
        tensor: The numbers as layers read them.
        permutation: Axes of the graph's layout in the order in which the tensor has them; axes of
            one may be added or left out there.
        graph_shape: Sizes in the graph's layout.
    """

    tensor: Tensor
    permutation: tuple[int, ...]
    graph_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A model as layers in the order of execution.

    Attributes:
        name: Prefix of everything in the C files: lower-case letters, digits, underscores.
        inputs: Inputs, in order. They belong to the caller: any alignment, never written.
        outputs: Outputs, in order; each is made by a layer of its own. They belong to the caller.
        layers: The layers.
        profile: Arithmetic profile.
        aliases: Graph values that are a tensor in another shape: name to tensor.
        variables: Weights that training changes, in the order of their numbers; the caller's, too.
        logits: What the loss of a training step reads, int32; no output.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    profile: str
    aliases: dict[str, Tensor]
    variables: tuple[Variable, ...] = ()
    logits: Tensor | None = None

    def needed(self, tensors: Collection[Tensor]) -> set[Layer]:
        """Layers that some tensors depend on."""
        wanted = set(tensors)
        found: set[Layer] = set()
        for layer in reversed(self.layers):
            if layer.output in wanted:
                found.add(layer)
                wanted.update(layer.inputs)
        return found
