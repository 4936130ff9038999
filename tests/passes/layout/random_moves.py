"""Random graphs of operators that run in any order of dimensions, with transposes among them.

Every number is a small integer in float32, so that sums are exact in any order and results can be
compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.property.random_graphs import Maker, RandomGraph

SIZES = (1, 1, 2, 3, 4)


def _integers(m: Maker, *shape: int) -> str:
    return m.const(m.rng.integers(-2, 3, shape))


def _indices(m: Maker, numbers: Any) -> str:
    return m.const(numbers, np.int64)


def _shuffled(m: Maker, count: int) -> list[int]:
    return list(m.draw(st.permutations(range(count))))


def _pick(m: Maker, *ranks: int) -> tuple[str, tuple[int, ...]] | None:
    name = m.tensor(*ranks)
    return None if name is None else (name, m.shapes[name])


def _transpose(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4, 5) or (None, ())
    if name is not None:
        perm = m.pick([_shuffled(m, len(shape)), [*range(2, len(shape)), 1, 0][: len(shape)]])
        if sorted(perm) != list(range(len(shape))):
            perm = _shuffled(m, len(shape))
        m.op("Transpose", [name], [shape[i] for i in perm], perm=perm)


def _images(m: Maker) -> None:
    """Channels last to channels first, or back: what exporters write."""
    name, shape = _pick(m, 4) or (None, ())
    if name is not None:
        perm = m.pick([[0, 2, 3, 1], [0, 3, 1, 2]])
        m.op("Transpose", [name], [shape[i] for i in perm], perm=perm)


def _unary(m: Maker) -> None:
    name, shape = _pick(m) or (None, ())
    m.op(m.pick(["Relu", "Neg", "Abs", "Identity"]), [name], shape)


def _clip(m: Maker) -> None:
    name, shape = _pick(m) or (None, ())
    m.op("Clip", [name, m.const(-6), m.const(6)], shape)


def _constant_operand(m: Maker) -> None:
    name, shape = _pick(m) or (None, ())
    lead = m.integer(0, len(shape))
    other = [d if m.flag() else 1 for d in shape][lead:]
    if m.integer(0, 9) == 0:
        other = [1, *shape]  # of higher rank than the tensor
    pair = [name, _integers(m, *other)]
    if m.flag():
        pair.reverse()
    m.op(m.pick(["Add", "Sub", "Mul", "Max"]), pair, np.broadcast_shapes(shape, tuple(other)))


def _two_tensors(m: Maker) -> None:
    name, shape = _pick(m) or (None, ())
    fitting = [
        other
        for other, dims in m.shapes.items()
        if len(dims) <= len(shape)
        and all(a in (1, b) for a, b in zip(dims[::-1], shape[::-1], strict=False))
    ]
    pair = [name, m.pick(fitting)]
    if m.flag():
        pair.reverse()
    m.op(m.pick(["Add", "Sub", "Min"]), pair, shape)


def _concat(m: Maker) -> None:
    name, shape = _pick(m, 1, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    axis = m.integer(0, len(shape) - 1)
    fitting = [
        other
        for other, dims in m.shapes.items()
        if len(dims) == len(shape)
        and all(a == b for i, (a, b) in enumerate(zip(dims, shape, strict=True)) if i != axis)
    ]
    parts = [name, m.pick(fitting)]
    total = sum(m.shapes[part][axis] for part in parts)
    if m.flag():
        parts.append(_integers(m, *shape))
        total += shape[axis]
    result = (*shape[:axis], total, *shape[axis + 1 :])
    if m.fits(result):
        m.op("Concat", parts, result, axis=m.pick([axis, axis - len(shape)]))


def _split(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4, 5) or (None, ())
    axes = [axis for axis, dim in enumerate(shape) if dim > 1]
    if name is None or not axes:
        return
    axis = m.pick(axes)
    first = m.integer(1, shape[axis] - 1)
    parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in (first, shape[axis] - first)]
    sizes = _indices(m, [first, shape[axis] - first])
    m.op("Split", [name, sizes], *parts, axis=axis)


def _slice(m: Maker) -> None:
    name, shape = _pick(m, 1, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    count = m.integer(1, len(shape))
    axes = list(range(count)) if m.flag() else _shuffled(m, len(shape))[:count]
    starts = [m.integer(0, shape[axis] - 1) for axis in axes]
    result = list(shape)
    for axis, start in zip(axes, starts, strict=True):
        result[axis] -= start
    inputs = [name, _indices(m, starts), _indices(m, [shape[axis] for axis in axes])]
    if axes != list(range(count)) or m.flag():
        inputs.append(_indices(m, [axis - m.pick([0, len(shape)]) for axis in axes]))
    m.op("Slice", inputs, result)


def _pad(m: Maker) -> None:
    name, shape = _pick(m, 1, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    stated = m.flag()
    axes = _shuffled(m, len(shape))[:2] if stated else list(range(len(shape)))
    begin, end = ([m.integer(0, 1) for _ in axes] for _ in range(2))
    result = list(shape)
    for axis, more in zip(axes * 2, begin + end, strict=True):
        result[axis] += more
    inputs = [name, _indices(m, begin + end), m.const(m.integer(-2, 2))]
    if stated:
        inputs.append(_indices(m, axes))
    if m.fits(result):
        m.op("Pad", inputs, result)


def _reduce(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    axes = sorted(_shuffled(m, len(shape))[: m.integer(1, len(shape) - 1)])
    keep = m.integer(0, 1)
    result = [1 if axis in axes else d for axis, d in enumerate(shape) if keep or axis not in axes]
    kind = m.pick(["ReduceMax", "ReduceMin", "ReduceSum"])
    m.op(kind, [name, _indices(m, axes)], result, keepdims=keep)


def _position(m: Maker) -> None:
    name, shape = _pick(m, 3, 4) or (None, ())
    if name is not None:
        axis = m.integer(0, len(shape) - 1)
        result = [1 if i == axis else d for i, d in enumerate(shape)]
        [places] = m.op("ArgMax", [name], result, axis=axis, keepdims=1)
        m.op("Cast", [places], result, to=TensorProto.FLOAT)
        del m.shapes[places]


def _ones(m: Maker) -> None:
    """Axes of size 1 taken away or put in, by the operators made for it or by Reshape."""
    name, shape = _pick(m) or (None, ())
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    if ones and m.flag():
        axes = [axis for axis in ones if m.flag()] or ones[:1]
        result = [d for axis, d in enumerate(shape) if axis not in axes]
        kind = "Squeeze"
    elif len(shape) < 5:
        axes = [m.integer(0, len(shape))]
        result = [*shape[: axes[0]], 1, *shape[axes[0] :]]
        kind = "Unsqueeze"
    else:
        return
    if not result:
        return
    kind = m.pick([kind, "Reshape"])
    m.op(kind, [name, _indices(m, result if kind == "Reshape" else axes)], result)


def _reshape(m: Maker) -> None:
    """Neighboring axes merged, or the whole flattened, or an axis split."""
    name, shape = _pick(m, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    axis = m.integer(0, len(shape) - 1)
    what = m.pick(["merge", "flatten", "flatten", "split", "any"])
    if what == "flatten":
        result = [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))]
        if m.flag():
            m.op("Flatten", [name], result, axis=axis)
            return
    elif what == "merge":
        result = [*shape[:axis], int(np.prod(shape[axis : axis + 2])), *shape[axis + 2 :]]
    elif what == "split" and shape[axis] % 2 == 0 and len(shape) < 5:
        parts = m.pick([[2, shape[axis] // 2], [shape[axis] // 2, 2]])
        result = [*shape[:axis], *parts, *shape[axis + 1 :]]
    else:
        result = [shape[i] for i in _shuffled(m, len(shape))]
    m.op("Reshape", [name, _indices(m, result)], result)


def _gather(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4, 5) or (None, ())
    if name is None:
        return
    axis = m.integer(0, len(shape) - 1)
    picked = m.rng.integers(0, shape[axis], m.pick([(), (2,), (3,)]))
    result = [*shape[:axis], *picked.shape, *shape[axis + 1 :]]
    m.op("Gather", [name, _indices(m, picked)], result, axis=axis)


def _tile(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4) or (None, ())
    if name is not None:
        repeats = [m.integer(1, 2) for _ in shape]
        result = [d * r for d, r in zip(shape, repeats, strict=True)]
        if m.fits(result):
            m.op("Tile", [name, _indices(m, repeats)], result)


def _expand(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4) or (None, ())
    if name is not None:
        result = [2 if d == 1 and m.flag() else d for d in shape]
        if m.fits(result):
            wanted = [d if m.flag() else 1 for d in result]
            wanted = [r if d != r else w for w, d, r in zip(wanted, shape, result, strict=True)]
            m.op("Expand", [name, _indices(m, wanted)], result)


def _product(m: Maker) -> None:
    name, shape = _pick(m, 2, 3, 4) or (None, ())
    if name is None:
        return
    columns = m.integer(1, 4)
    result = [*shape[:-1], columns]
    if len(shape) == 2 and m.flag():
        inputs = [name, _integers(m, columns, shape[-1])]
        if m.flag():
            inputs.append(_integers(m, columns))
        [made] = m.op("Gemm", inputs, result, transB=1)
    else:
        [made] = m.op("MatMul", [name, _integers(m, shape[-1], columns)], result)
    m.op("Clip", [made, m.const(-6), m.const(6)], result)


def _conv(m: Maker) -> None:
    """An operator that is channels first and stays so."""
    name, shape = _pick(m, 4) or (None, ())
    if name is not None:
        channels = m.integer(1, 3)
        result = (shape[0], channels, *shape[2:])
        weight = _integers(m, channels, shape[1], 1, 1)
        [made] = m.op("Conv", [name, weight], result, kernel_shape=[1, 1])
        m.op("Clip", [made, m.const(-6), m.const(6)], result)


def _quantize(m: Maker) -> None:
    """Scales along an axis, powers of two."""
    name, shape = _pick(m, 2, 3, 4) or (None, ())
    if name is None:
        return
    axis = m.integer(0, len(shape) - 1)
    scale = m.const(2.0 ** m.rng.integers(-1, 2, shape[axis]))
    zero = m.const(np.zeros(shape[axis]), np.int8)
    [codes] = m.op("QuantizeLinear", [name, scale, zero], shape, axis=axis)
    m.op("DequantizeLinear", [codes, scale, zero], shape, axis=axis)
    del m.shapes[codes]


GROWERS: tuple[Callable[[Maker], None], ...] = (
    *(_transpose,) * 4,
    *(_images,) * 3,
    *(_conv,) * 2,
    *(_reshape,) * 2,
    *(_product,) * 2,
    _clip,
    _concat,
    _constant_operand,
    _constant_operand,
    _expand,
    _gather,
    _ones,
    _pad,
    _position,
    _quantize,
    _reduce,
    _slice,
    _split,
    _tile,
    _two_tensors,
    _unary,
)


@st.composite
def moving_graphs(draw: Callable[[Any], Any], most: int = 14) -> RandomGraph:
    """A graph of such operators, and inputs of small integers."""
    m = Maker(draw)
    feeds: dict[str, np.ndarray] = {}
    for index in range(m.integer(1, 2)):
        shape = tuple(m.pick(SIZES) for _ in range(m.pick([4, 4, 4, 3, 2, 5])))
        feeds[f"x{index}"] = m.rng.integers(-4, 5, shape).astype(np.float32)
        m.shapes[f"x{index}"] = shape
    for _ in range(m.integer(3, most)):
        m.pick(GROWERS)(m)
    _unary(m)
    computed = [o for node in m.nodes for o in node.output if o in m.shapes]
    ends = [name for name in computed if name not in m.readers]
    middle = [name for name in computed if name in m.readers]
    if middle and m.flag():
        ends.append(m.pick(middle))
    if m.integer(0, 9) == 0:
        ends.append(next(iter(feeds)))
    read = m.readers | set(ends)
    feeds = {name: array for name, array in feeds.items() if name in read}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(e, TensorProto.FLOAT, m.shapes[e]) for e in ends]
    graph = helper.make_graph(m.nodes, "moves", inputs, outputs, m.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return RandomGraph(onnx.shape_inference.infer_shapes(model), feeds, m.operators)
