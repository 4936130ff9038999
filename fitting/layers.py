"""Layers with weights, seen as matrices: ``output = W @ column + bias`` for every column.

A column is what one output element of a layer depends on: a row of a Gemm's input, or the patch
under a convolution's kernel. Statistics of columns are what rounding weights and correcting biases
need, and they look the same for all kinds of layers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import get_quantization
from intaglio.transforms.scales import TensorQuantization

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A node with constant float weights.

    Attributes:
        node: Conv, ConvTranspose, Gemm (normal form) or MatMul (constant right side, 2-D).
        weight: Its weights.
        bias: Its bias, None where it has none.
        groups: Groups of channels.
        strides: One a spatial axis.
        dilations: One a spatial axis.
        pads: (begin, end), one a spatial axis.
        kernel: One a spatial axis.
        output_padding: One a spatial axis (ConvTranspose).
    """

    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None
    groups: int = 1
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], ...] = ()
    kernel: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()

    @property
    def input(self) -> ir.Value:
        """The layer's input activation."""
        found = self.node.inputs[0]
        assert found is not None
        return found

    @property
    def output(self) -> ir.Value:
        """The layer's output, before any activation function."""
        return self.node.outputs[0]

    @property
    def columns(self) -> int:
        """Elements of a column, per group."""
        shape = array_of(self.weight).shape
        if self.node.op_type == "ConvTranspose":
            return int(shape[0]) // self.groups * math.prod(self.kernel)
        return int(shape[0]) if self.node.op_type == "MatMul" else math.prod(shape[1:])

    def matrix(self, weight: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """The weights as (groups, outputs of a group, elements of a column).

        Args:
            weight: Weights in the node's own layout; those of the graph by default.
        """
        w = np.asarray(array_of(self.weight) if weight is None else weight, np.float64)
        if self.node.op_type == "MatMul":
            return np.asarray(w.T[None])
        if self.node.op_type == "ConvTranspose":
            spatial = tuple(range(3, 3 + len(self.kernel)))
            split = w.reshape(self.groups, -1, *w.shape[1:])
            w = np.flip(np.swapaxes(split, 1, 2), axis=spatial)
            return np.asarray(w.reshape(self.groups, w.shape[1], -1))
        return np.asarray(w.reshape(self.groups, w.shape[0] // self.groups, -1))

    def weights(self, matrix: NDArray[Any]) -> NDArray[np.float32]:
        """The inverse of :meth:`matrix`, in float32."""
        shape = array_of(self.weight).shape
        if self.node.op_type == "MatMul":
            w = matrix[0].T
        elif self.node.op_type == "ConvTranspose":
            spatial = tuple(range(3, 3 + len(self.kernel)))
            inputs = shape[0] // self.groups
            split = matrix.reshape(self.groups, shape[1], inputs, *self.kernel)
            w = np.swapaxes(np.flip(split, axis=spatial), 1, 2).reshape(shape)
        else:
            w = matrix.reshape(shape)
        return np.ascontiguousarray(w, np.float32)

    def scales(self, quantization: TensorQuantization) -> NDArray[np.float64]:
        """The weight scales as (groups, outputs of a group)."""
        outputs = self.matrix().shape[1]
        scale = np.asarray(quantization.scale, np.float64)
        if self.node.op_type == "ConvTranspose" or len(scale) == 1:
            return np.array(np.broadcast_to(scale, (self.groups, outputs)))
        return np.asarray(scale.reshape(self.groups, outputs))


def array_of(value: ir.Value | None) -> NDArray[Any]:
    """The value of an initializer."""
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy())


def set_array(value: ir.Value, array: NDArray[np.float32]) -> None:
    """Replaces the value of an initializer."""
    value.const_value = ir.tensor(array, name=value.name)


def find_layers(model: ir.Model) -> tuple[list[Layer], list[tuple[ir.Node, str]]]:
    """The layers of a canonical float model in graph order, and nodes left out with the reason."""
    found: list[Layer] = []
    left_out: list[tuple[ir.Node, str]] = []
    for node in model.graph:
        if node.op_type not in WEIGHTED or node.domain not in ("", "ai.onnx"):
            continue
        reason = _unsuitable(node)
        if reason is None:
            found.append(_layer(node))
        else:
            left_out.append((node, reason))
    return found, left_out


def planned_scheme(layer: Layer) -> TensorQuantization | None:
    """The planned quantization of the layer's weights, or None."""
    return get_quantization(layer.weight)


def _unsuitable(node: ir.Node) -> str | None:
    if len(node.inputs) < 2:
        return "it has no weight input"
    weight = node.inputs[1]
    if weight is None or weight.const_value is None or weight.producer() is not None:
        return "its weights are computed"
    if weight.dtype != ir.DataType.FLOAT:
        return "its weights are not float32"
    if len(list(weight.uses())) != 1:
        return "its weights are shared with another node"
    if node.op_type == "MatMul" and len(weight.const_value.shape) != 2:
        return "its right side is not a matrix"
    if node.op_type == "Gemm" and (
        node.attributes.get_int("transA", 0) != 0
        or node.attributes.get_int("transB", 0) != 1
        or node.attributes.get_float("alpha", 1.0) != 1.0
    ):
        return "it is no Gemm in normal form"
    if node.op_type in ("Conv", "ConvTranspose"):
        padding = node.attributes.get_string("auto_pad", "NOTSET")
        if padding != "NOTSET" or "output_shape" in node.attributes:
            return "its padding is not explicit"
    return None


def _layer(node: ir.Node) -> Layer:
    weight = node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    assert weight is not None
    if bias is not None and (bias.const_value is None or len(list(bias.uses())) != 1):
        bias = None
    if node.op_type in ("Gemm", "MatMul"):
        return Layer(node, weight, bias)
    kernel = tuple(array_of(weight).shape[2:])
    ones = (1,) * len(kernel)
    zeros = (0,) * len(kernel)
    attributes = node.attributes
    flat = tuple(attributes.get_ints("pads", zeros + zeros))
    return Layer(
        node,
        weight,
        bias,
        groups=attributes.get_int("group", 1),
        strides=tuple(attributes.get_ints("strides", ones)),
        dilations=tuple(attributes.get_ints("dilations", ones)),
        pads=tuple(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True)),
        kernel=kernel,
        output_padding=tuple(attributes.get_ints("output_padding", zeros)),
    )


@dataclasses.dataclass(frozen=True)
class Positions:
    """Chosen output positions of a layer: sample index first, then one index a spatial axis."""

    index: tuple[NDArray[np.int64], ...]


def choose_positions(
    layer: Layer, x: NDArray[Any], count: int, generator: np.random.Generator
) -> Positions:
    """Draws up to ``count`` output positions of a batch, all of them where there are no more.

    Args:
        layer: The layer.
        x: A batch of its input.
        count: How many at most.
        generator: Where the choice comes from.
    """
    if not layer.kernel:
        shape: tuple[int, ...] = x.shape[:-1]
    else:
        shape = (x.shape[0], *_output_sizes(layer, x.shape[2:]))
    total = math.prod(shape)
    if total <= count:
        chosen = np.arange(total)
    else:
        chosen = np.sort(generator.choice(total, count, replace=False))
    return Positions(np.unravel_index(chosen, shape) if shape else ())


def take_columns(layer: Layer, x: NDArray[Any], positions: Positions) -> NDArray[np.float32]:
    """The columns at ``positions``: (groups, positions, elements of a column), float32."""
    if not layer.kernel:
        chosen_rows: tuple[Any, ...] = positions.index
        rows = x.reshape(-1, x.shape[-1]) if x.ndim == 1 else x[chosen_rows]
        return np.asarray(rows, np.float32)[None]
    windows = _windows(layer, x)
    sample, *places = positions.index
    chosen: tuple[Any, ...] = (sample, slice(None), *places)
    grouped = windows[chosen].reshape(len(sample), layer.groups, -1)
    return np.ascontiguousarray(grouped.transpose(1, 0, 2), np.float32)


def _output_sizes(layer: Layer, spatial: tuple[int, ...]) -> tuple[int, ...]:
    sizes = []
    for axis, size in enumerate(spatial):
        span = layer.dilations[axis] * (layer.kernel[axis] - 1)
        pads = sum(layer.pads[axis])
        if layer.node.op_type == "ConvTranspose":
            full = (size - 1) * layer.strides[axis] + 1 + span
            sizes.append(full + layer.output_padding[axis] - pads)
        else:
            sizes.append((size + pads - span - 1) // layer.strides[axis] + 1)
    return tuple(sizes)


def _windows(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """A view (samples, channels, *output positions, *kernel)."""
    spans = [d * (k - 1) for d, k in zip(layer.dilations, layer.kernel, strict=True)]
    strides = layer.strides
    if layer.node.op_type == "ConvTranspose":
        # A transposed convolution is a convolution of the input with zeros put in between.
        sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
        spread = np.zeros((*x.shape[:2], *sizes), x.dtype)
        places: tuple[Any, ...] = (..., *(slice(None, None, s) for s in strides))
        spread[places] = x
        pads = [
            (span - begin, span - end + extra)
            for span, (begin, end), extra in zip(
                spans, layer.pads, layer.output_padding, strict=True
            )
        ]
        x, strides = spread, (1,) * len(strides)
    else:
        pads = list(layer.pads)
    cuts = (slice(max(0, -b), x.shape[2 + i] - max(0, -e)) for i, (b, e) in enumerate(pads))
    kept: tuple[Any, ...] = (slice(None), slice(None), *cuts)
    padded = np.pad(x[kept], [(0, 0), (0, 0), *((max(0, b), max(0, e)) for b, e in pads)])
    axes = tuple(range(2, 2 + len(spans)))
    view = np.lib.stride_tricks.sliding_window_view(padded, [s + 1 for s in spans], axis=axes)
    steps = (slice(None, None, s) for s in (*strides, *layer.dilations))
    every: tuple[Any, ...] = (slice(None), slice(None), *steps)
    return np.asarray(view[every])
