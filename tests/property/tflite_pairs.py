"""Random operators of two tensors, and reductions and windows of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.property.tflite_case import ACTIVATIONS, FUSED, NHWC_TO_NCHW, Case
from tests.property.tflite_products import padding, window


def any_shape(case: Case, rank: int | None = None) -> tuple[int, ...]:
    rank = rank or case.pick([1, 2, 3, 4, 4])
    return tuple(case.integer(1, 6) for _ in range(rank))


def _pair(case: Case) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shape = any_shape(case)
    kind = case.pick(["same", "same", "channel", "scalar", "one"])
    other = {
        "same": shape,
        "channel": shape[-1:],
        "scalar": (1,),
        "one": tuple(1 if case.rng.random() < 0.4 else d for d in shape),
    }[kind]
    pair = (shape, other) if case.rng.random() < 0.7 else (other, shape)
    return (*pair, shape)


def _binary(
    case: Case, operator: str, options: str, onnx: str, scale: Callable[..., float]
) -> None:
    first, second, shape = _pair(case)
    a = case.input("a", first)
    b_scale = case.near(a.scale[0] * float(np.exp(case.rng.uniform(-3, 3))), a.scale[0])
    if case.rng.random() < 0.3:
        b = case.constant("b", case.codes(case.dtype, second), [b_scale], zero=case.zero())
    else:
        b = case.input("b", second, scale=b_scale)
    y = case.activation("y", shape, scale=scale(a.scale[0], b.scale[0]))
    act = case.pick(ACTIVATIONS) if options else "NONE"
    fields: dict[str, Any] = {"fusedActivationFunction": FUSED[act]}
    if options in ("AddOptions", "SubOptions"):
        fields["potScaleInt16"] = False
    case.tflite(operator, [a, b], [y], (options, fields) if options else None)
    case.node(onnx, ["a", "b"], case.activated(act))
    case.activate(act)


def add(case: Case) -> None:
    _binary(
        case,
        "ADD",
        "AddOptions",
        "Add",
        lambda a, b: case.near(max(a, b) * float(np.exp(case.rng.uniform(-0.5, 1))), a),
    )


def sub(case: Case) -> None:
    _binary(
        case,
        "SUB",
        "SubOptions",
        "Sub",
        lambda a, b: case.near(max(a, b) * float(np.exp(case.rng.uniform(-0.5, 1))), a),
    )


def mul(case: Case) -> None:
    reach = 12000 if case.dtype == "int16" else 50
    _binary(
        case,
        "MUL",
        "MulOptions",
        "Mul",
        lambda a, b: case.near(a * b * reach * float(np.exp(case.rng.uniform(-1, 1))), a, b),
    )


def min_max(case: Case, operator: str, onnx: str) -> None:
    first, second, shape = _pair(case)
    a = case.input("a", first)
    b = case.input("b", second, scale=a.scale[0], zero=a.zero_point[0])
    y = case.activation("y", shape, scale=a.scale[0], zero=a.zero_point[0])
    case.tflite(operator, [a, b], [y], ("MaximumMinimumOptions", {}))
    case.node(onnx, ["a", "b"])


def reduce(case: Case, operator: str, onnx: str) -> None:
    shape = any_shape(case, case.pick([2, 3, 4, 4]))
    if case.rng.random() < 0.15:
        shape = (1, 17, 23, 3)
    rank = len(shape)
    count = case.integer(1, rank)
    axes = sorted(case.rng.choice(rank, count, replace=False).tolist())
    if rank == 4 and case.rng.random() < 0.4:
        axes = [1, 2]
    keep = bool(case.pick([True, False]))
    x = case.input("x", shape)
    terms = int(np.prod([shape[a] for a in axes]))
    left = tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)
    zero = None
    if operator == "SUM":
        scale = case.near(x.scale[0] * np.sqrt(terms) * case.rng.uniform(0.5, 3), x.scale[0])
    elif operator == "MEAN":
        scale = case.near(x.scale[0] * float(np.exp(case.rng.uniform(-2, 0.5))), x.scale[0])
    else:
        scale, zero = x.scale[0], x.zero_point[0]
    y = case.activation("y", left, scale=scale, zero=zero)
    axis = case.constant("axes", np.array(axes, np.int32))
    case.tflite(operator, [x, axis], [y], ("ReducerOptions", {"keepDims": keep}))
    case.init("axes64", np.array(axes, np.int64))
    case.node(onnx, ["x", "axes64"], keepdims=int(keep))


def pool(case: Case, operator: str, onnx: str) -> None:
    n, h, w, c = (case.integer(1, k) for k in (2, 9, 9, 5))
    kh, sh, _ = window(case, h, dilated=False)
    kw, sw, _ = window(case, w, dilated=False)
    same = case.pick([True, False])
    oh, top, bottom = padding(case, h, kh, sh, 1, same)
    ow, left, right = padding(case, w, kw, sw, 1, same)
    x = case.input("x", (n, h, w, c), order=NHWC_TO_NCHW)
    y = case.activation(
        "y", (n, oh, ow, c), scale=x.scale[0], zero=x.zero_point[0], order=NHWC_TO_NCHW
    )
    fields = {
        "padding": 0 if same else 1,
        "strideH": sh,
        "strideW": sw,
        "filterHeight": kh,
        "filterWidth": kw,
    }
    case.tflite(operator, [x], [y], ("Pool2DOptions", fields))
    case.node(onnx, ["x"], kernel_shape=[kh, kw], strides=[sh, sw], pads=[top, left, bottom, right])
