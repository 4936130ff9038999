"""The tensors that train, in the quantized form: where their integers are, and how they lie.

A parameter counts in the layout of the integer graph: weights of Conv as in ONNX, those of Gemm and
MatMul as [in, out], whatever the node's ``transB`` says; biases as vectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InputError, InternalError, UnsupportedError
from intaglio.passes.operators import constant_array
from intaglio.passes.train.marks import trained_nodes
from intaglio.transforms.scales import BIAS_LIMIT


@dataclasses.dataclass(frozen=True)
class TrainedTensor:
    """A tensor of the quantized form that trains.

    Attributes:
        name: Of the parameter.
        node: The layer.
        codes: The initializer of its integers.
        scale: Real value of one step of them.
        is_bias: Whether it is a bias.
        levels: Largest magnitude that its integers may have.
        transposed: Whether the initializer is the parameter transposed.
    """

    name: str
    node: ir.Node
    codes: ir.Value
    scale: float
    is_bias: bool
    levels: int
    transposed: bool

    def read(self) -> NDArray[Any]:
        """Its integers, in the layout of the integer graph."""
        array = constant_array(self.codes)
        if array is None:
            raise InternalError(f"'{self.codes.name}' is no initializer")
        return np.ascontiguousarray(array.T if self.transposed else array)

    def write(self, array: NDArray[Any]) -> None:
        """Replaces its integers.

        Raises:
            InputError: They have another shape or type.
        """
        before = self.read()
        if array.shape != before.shape or array.dtype != before.dtype:
            raise InputError(
                f"parameter '{self.name}' is {before.dtype} {list(before.shape)}, not "
                f"{array.dtype} {list(array.shape)}",
                remedy="give the weights of the same bundle",
            )
        stored = np.ascontiguousarray(array.T if self.transposed else array)
        self.codes.const_value = ir.tensor(stored, name=self.codes.name)


def trained_tensors(model: ir.Model) -> list[TrainedTensor]:
    """The tensors of a model in the quantized form that train, by their numbers.

    Raises:
        UnsupportedError: A marked layer has no quantized constant.
    """
    found = []
    for node, trained in trained_nodes(model.graph):
        columns = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
        found.append(_tensor(node, 1, trained.weight, trained.levels, columns))
        if trained.bias is not None:
            found.append(_tensor(node, 2, trained.bias, BIAS_LIMIT, False))
    return found


def read_parameters(model: ir.Model) -> dict[str, NDArray[Any]]:
    """The integers of all trained tensors by name, by their numbers."""
    return {tensor.name: tensor.read() for tensor in trained_tensors(model)}


def write_parameters(model: ir.Model, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Puts integers of trained tensors into a model in the quantized form.

    Raises:
        InputError: One is missing, or has another shape or type.
    """
    for tensor in trained_tensors(model):
        if tensor.name not in arrays:
            raise InputError(
                f"there are no weights for parameter '{tensor.name}'",
                remedy="give the weights of the same bundle",
            )
        tensor.write(arrays[tensor.name])


def _tensor(node: ir.Node, index: int, name: str, levels: int, transposed: bool) -> TrainedTensor:
    value = node.inputs[index] if index < len(node.inputs) else None
    dequantize = None if value is None else value.producer()
    codes = None if dequantize is None else dequantize.inputs[0]
    scale = None if dequantize is None else constant_array(dequantize.inputs[1])
    if codes is None or scale is None or scale.size != 1 or constant_array(codes) is None:
        raise UnsupportedError(
            f"the weights of parameter '{name}' are not quantized with one scale",
            remedy="run quantize.plan_tensors and quantize.insert_qdq on a model whose layers were "
            "chosen before",
        )
    real = float(scale.reshape(()))
    return TrainedTensor(name, node, codes, real, index == 2, levels, transposed)
