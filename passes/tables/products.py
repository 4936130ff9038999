"""Integer products by constants, as what a table layer can stand for.

``acc[o] = sum over taps t, channels c of (x - z) * (w - z_w)``: a convolution, or a product with a
constant matrix, which is a convolution with a window of one element.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, integer, ints, operand, rank, text
from intaglio.passes.dialect.specification import DOMAIN

#: Operators that multiply by weights, and what they are called in the source model.
PRODUCTS = {
    "ConvInteger": "Conv",
    "ConvInteger16": "Conv",
    "ConvTransposeInteger": "ConvTranspose",
    "ConvTransposeInteger16": "ConvTranspose",
    "MatMulInteger": "MatMul",
    "MatMulInteger16": "MatMul",
}


class NoTableError(Exception):
    """A product that no table layer can stand for; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """One product by constants.

    Attributes:
        node: The node.
        weights: int64 ``[taps, channels of a group, outputs]``, zero point subtracted.
        zero_point: Zero point of the data.
        group: Number of groups.
        kernel: Size of the window, one number for each image axis.
        strides: Likewise.
        dilations: Likewise.
        pads: As of Conv.
        is_matrix: Whether it is a product with a matrix, whose channels are the last axis.
    """

    node: ir.Node
    weights: NDArray[np.int64]
    zero_point: int
    group: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    is_matrix: bool

    @property
    def positions(self) -> int:
        """Places of the window in one input; open dimensions count as one."""
        shape = result_shape(self.node.outputs[0])
        if shape is None:
            return 1
        places = shape[:-1] if self.is_matrix else (*shape[:1], *shape[2:])
        return math.prod(dim if isinstance(dim, int) else 1 for dim in places)


def read_product(node: ir.Node) -> Product:
    """Reads a node of one of :data:`PRODUCTS`.

    Raises:
        NoTableError: No table layer can stand for it.
    """
    if node.op_type.endswith("16"):
        raise NoTableError("its activations have 16 bits: a table would need 65,536 rows")
    if node.op_type == "ConvTransposeInteger":
        raise NoTableError("a transposed convolution has no table form")
    codes, data = constant(node.inputs[1]), node.inputs[0]
    if codes is None or data is None:
        raise NoTableError("its weights are no constants")
    zero_point = _number(operand(node, 2), "the zero point of its data")
    weight_zero_point = operand(node, 3)
    shift: NDArray[Any] = np.zeros((), np.int64)
    if weight_zero_point is not None:
        shift = np.asarray(_number(weight_zero_point, "the zero point of its weights"))
    weights = codes.astype(np.int64) - shift
    if node.op_type == "MatMulInteger":
        return _matrix(node, data, weights, zero_point)
    return _convolution(node, weights, zero_point)


def _number(value: ir.Value | None, what: str) -> int:
    if value is None:
        return 0
    array = constant(value)
    if array is None or array.size != 1:
        raise NoTableError(f"{what} is not one constant number")
    return int(array.reshape(-1)[0])


def _matrix(node: ir.Node, data: ir.Value, weights: NDArray[np.int64], zero: int) -> Product:
    axes = rank(data)
    if axes is None or not 2 <= axes <= 4:
        raise NoTableError("its data has not two to four axes")
    if weights.ndim != 2:
        raise NoTableError("its weights are no matrix")
    images = (1,) * 2
    return Product(node, weights[None], zero, 1, images, images, images, (0, 0) * 2, True)


def _convolution(node: ir.Node, weights: NDArray[np.int64], zero_point: int) -> Product:
    kernel = weights.shape[2:]
    images = len(kernel)
    if not images:
        raise NoTableError("it has no image axes")
    if text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NoTableError("auto_pad depends on the size of the image; state pads instead")
    ones = (1,) * images
    # [O, channels, *kernel] as [taps, channels, O].
    moved = weights.reshape(*weights.shape[:2], -1).transpose(2, 1, 0)
    return Product(
        node,
        np.ascontiguousarray(moved),
        zero_point,
        integer(node, "group", 1),
        tuple(kernel),
        tuple(ints(node, "strides", ones) or ones),
        tuple(ints(node, "dilations", ones) or ones),
        tuple(ints(node, "pads", (0, 0) * images) or ()),
        False,
    )


def result_shape(value: ir.Value) -> list[int | str | None] | None:
    """The shape of sums, or of what becomes of them element by element."""
    while value.shape is None:
        uses = list(value.uses())
        if len(uses) != 1:
            return None
        node = uses[0].node
        rescales = node.domain == DOMAIN and node.op_type.startswith("Rescale")
        if not rescales and node.op_type != "Add":
            return None
        value = node.outputs[0]
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]
