"""Gradients of Gemm and MatMul: ``Y = A B`` gives ``dA = dY B'`` and ``dB = A' dY``."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import integer, number, operand
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable


def gemm(context: Context, node: ir.Node, upstream: ir.Value) -> list[ir.Value | None]:
    """``Y = alpha op(A) op(B) + beta C``, where op transposes or not."""
    a, b, c = node.inputs[0], node.inputs[1], operand(node, 2)
    trans_a, trans_b = integer(node, "transA", 0), integer(node, "transB", 0)
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    found: list[ir.Value | None] = [None, None, None]
    if context.needs(a):
        if trans_a:
            found[0] = context.op("Gemm", b, upstream, alpha=alpha, transA=trans_b, transB=1)
        else:
            found[0] = context.op("Gemm", upstream, b, alpha=alpha, transB=1 - trans_b)
    if context.needs(b):
        if trans_b:
            found[1] = context.op("Gemm", upstream, a, alpha=alpha, transA=1, transB=trans_a)
        else:
            found[1] = context.op("Gemm", a, upstream, alpha=alpha, transA=1 - trans_a)
    if c is not None and context.needs(c):
        scaled = upstream if beta == 1.0 else context.op("Mul", upstream, context.number(beta))
        found[2] = _sum_to(context, scaled, c, node.outputs[0])
    return found


def _sum_to(context: Context, gradient: ir.Value, bias: ir.Value, result: ir.Value) -> ir.Value:
    """The gradient ``[M, N]`` of a bias ``[]``, ``[N]``, ``[1, N]``, ``[M, 1]`` or ``[M, N]``."""
    known = dimensions(bias)
    padded = [1] * (2 - len(known)) + list(known)
    axes = [axis for axis in (0, 1) if padded[axis] == 1]
    _check_known(padded, dimensions(result))
    if not axes:
        return gradient
    total = context.op("ReduceSum", gradient, context.integers(axes), keepdims=1)
    return context.reshape_like(total, bias)


def matmul(context: Context, node: ir.Node, upstream: ir.Value) -> list[ir.Value | None]:
    """As numpy's matmul: leading axes broadcast, a vector counts as a matrix with one row."""
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None
    assert b is not None
    rank_a, rank_b = len(dimensions(a)), len(dimensions(b))
    if rank_a > 1 and rank_b == 2:
        return _by_matrix(context, a, b, upstream)
    if rank_a == 1:
        upstream = context.op("Unsqueeze", upstream, context.integers([-2 if rank_b > 1 else -1]))
    if rank_b == 1:
        upstream = context.op("Unsqueeze", upstream, context.integers([-1]))
    found: list[ir.Value | None] = [None, None]
    if context.needs(a):
        wide = context.op("MatMul", upstream, _transposed(context, b, column=True))
        found[0] = _reduce_to(context, wide, a, node.outputs[0], max(rank_a, rank_b, 2))
    if context.needs(b):
        wide = context.op("MatMul", _transposed(context, a, column=False), upstream)
        found[1] = _reduce_to(context, wide, b, node.outputs[0], max(rank_a, rank_b, 2))
    return found


def _by_matrix(
    context: Context, a: ir.Value, b: ir.Value, upstream: ir.Value
) -> list[ir.Value | None]:
    """The usual case: rows times one matrix. All leading axes are rows."""
    found: list[ir.Value | None] = [None, None]
    if context.needs(a):
        found[0] = context.op("MatMul", upstream, context.op("Transpose", b, perm=[1, 0]))
    if context.needs(b):
        if len(dimensions(a)) > 2:
            rows, columns = dimensions(b)
            if isinstance(rows, int) and isinstance(columns, int):
                a = context.op("Reshape", a, context.integers([-1, rows]))
                upstream = context.op("Reshape", upstream, context.integers([-1, columns]))
            else:
                a = context.op("Reshape", a, context.sizes([-1, (b, 0)]))
                upstream = context.op("Reshape", upstream, context.sizes([-1, (b, 1)]))
        found[1] = context.op("Gemm", a, upstream, transA=1)
    return found


def _transposed(context: Context, value: ir.Value, column: bool) -> ir.Value:
    """The matrices of ``value`` transposed; a vector stands for a column or for a row."""
    rank = len(dimensions(value))
    if rank == 1:  # a column becomes a row, and the other way round
        return context.op("Unsqueeze", value, context.integers([0 if column else 1]))
    perm = [*range(rank - 2), rank - 1, rank - 2]
    return context.op("Transpose", value, perm=perm)


def _check_known(target: Sequence[int | str | None], result: Sequence[int | str | None]) -> None:
    """Refuses a size of which it is not known whether it is broadcast."""
    for dim, whole in zip(target, result, strict=True):
        if dim != 1 and (dim is None or dim != whole):
            raise Undifferentiable(
                "it is not known whether an operand is broadcast",
                "give the model a fixed input shape",
            )


def _reduce_to(
    context: Context, wide: ir.Value, target: ir.Value, result: ir.Value, rank: int
) -> ir.Value:
    """Sums over leading axes that were broadcast; a vector loses the axis that it was given."""
    known = dimensions(target)
    if len(known) == 1:
        return context.op("Reshape", _sum_leading(context, wide, rank), context.shape_of(target))
    leading = rank - len(known)
    _check_known(known[:-2], dimensions(result)[leading : rank - 2])
    axes = [*range(leading)]
    axes += [axis for axis, dim in enumerate(known[:-2], leading) if dim == 1]
    if axes:
        wide = context.op("ReduceSum", wide, context.integers(axes), keepdims=1)
        return context.op("Reshape", wide, context.shape_of(target))
    return wide


def _sum_leading(context: Context, wide: ir.Value, rank: int) -> ir.Value:
    if rank == 2:
        return wide
    return context.op("ReduceSum", wide, context.integers(range(rank - 2)), keepdims=0)
