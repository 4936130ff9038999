"""BATCH_MATMUL."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import given
from intaglio.targets.tflite.scope import Operator, Reader, Scope, Tensor


def read_batch_matmul(scope: Scope, operator: Operator) -> None:
    """BATCH_MATMUL: MatMul, behind a Transpose where an operand is adjoint."""
    first = _operand(scope, operator.inputs[0], bool(operator.options.adjX))
    second = _operand(scope, given(operator, 1), bool(operator.options.adjY))
    scope.give(operator.outputs[0], scope.node("MatMul", [first, second]))


def _operand(scope: Scope, tensor: Tensor | None, adjoint: bool) -> ir.Value:
    value = scope.value(tensor)
    rank = len(scope.shape(value))
    if rank < 2:
        raise scope.damaged(f"multiplies a tensor of {rank} dimensions")
    if not adjoint:
        return value
    order = [*range(rank - 2), rank - 1, rank - 2]
    turned: ir.Value = scope.node("Transpose", [value], {"perm": order})
    return turned


READERS: Mapping[str, Reader] = MappingProxyType({"BATCH_MATMUL": read_batch_matmul})
