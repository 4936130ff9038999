"""Random float graphs of every supported operator, drawn by hypothesis.

A graph is grown operator by operator from the tensors there are so far; shapes are tracked by
formula, so most draws are valid graphs at once. Corners that broke converters before are drawn on
purpose: one channel, spatial size 1, constants on either side and of any rank, several readers,
outputs in the middle, unused parts, moves between a layer and its activation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

BATCH = "N"
#: Elements that a tensor may have; larger draws are passed over.
LARGEST = 3000


@dataclasses.dataclass
class RandomGraph:
    """A model and inputs to calibrate and test it on."""

    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    operators: list[str]

    def __repr__(self) -> str:
        return onnx.printer.to_text(self.model.graph)


class Maker:
    """Draws one graph.

    Args:
        draw: hypothesis' draw function.
        exclude: Names of growers that are not to be used.
    """

    def __init__(self, draw: Callable[[Any], Any], exclude: Sequence[str] = ()) -> None:
        self.draw = draw
        self.exclude = frozenset(exclude)
        self.rng = np.random.default_rng(self.integer(0, 999))
        self.batch = self.integer(1, 3)
        self.symbolic = self.flag()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.nonnegative: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.operators: list[str] = []
        self.readers: set[str] = set()

    # -- drawing -------------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    # -- parts ---------------------------------------------------------------------------------

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def normal(self, *shape: int, scale: float | None = None) -> str:
        kind = self.pick(["plain", "plain", "positive", "wide", "zero"])
        values = self.rng.standard_normal(shape) * (
            self.pick([0.3, 1, 5]) if scale is None else scale
        )
        if kind == "positive":
            values = np.abs(values)
        elif kind == "wide":
            values = values * 10.0 ** self.rng.uniform(-3, 1, shape)
        elif kind == "zero":
            values = values * (self.rng.random(shape) < 0.3)
        return self.const(values)

    def op(
        self, kind: str, inputs: Sequence[str], *shapes: Sequence[int], **attributes: Any
    ) -> list[str]:
        stem = f"t{len(self.nodes)}"
        names = [stem if i == 0 else f"{stem}_{i}" for i in range(len(shapes))]
        self.nodes.append(
            helper.make_node(kind, list(inputs), names, name=f"n_{stem}_{kind}", **attributes)
        )
        self.operators.append(kind)
        self.readers.update(inputs)
        for name, shape in zip(names, shapes, strict=True):
            self.shapes[name] = tuple(int(d) for d in shape)
        return names

    def fits(self, shape: Sequence[int]) -> bool:
        return all(d >= 1 for d in shape) and int(np.prod(shape)) <= LARGEST

    def tensor(self, *ranks: int) -> str | None:
        """A tensor of one of the ranks, the newest ones more often."""
        found = [n for n, s in self.shapes.items() if not ranks or len(s) in ranks]
        if not found:
            return None
        return self.pick([*found, *found[-2:], found[-1]])


def _conv(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    n, c, h, w = m.shapes[x]
    group = m.pick([g for g in (1, 1, 2, 3, c) if c % g == 0])
    outputs = group * m.integer(1, 3)
    kernel = [m.integer(1, 3), m.integer(1, 3)]
    strides = [m.integer(1, 2), m.integer(1, 2)]
    dilations = [m.integer(1, 2), m.integer(1, 2)]
    pads = [m.integer(0, 2) for _ in range(4)]
    size = [
        (d + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i, d in enumerate((h, w))
    ]
    shape = (n, outputs, *size)
    if not m.fits(shape):
        return False
    weight = m.normal(outputs, c // group, *kernel)
    inputs = [x, weight]
    if m.flag():
        inputs.append(m.normal(outputs))
    m.op(
        "Conv",
        inputs,
        shape,
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=group,
    )
    return True


def _conv_transpose(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    n, c, h, w = m.shapes[x]
    group = m.pick([g for g in (1, 2, c) if c % g == 0])
    each = m.integer(1, 2)
    kernel = [m.integer(1, 3), m.integer(1, 3)]
    strides = [m.integer(1, 2), m.integer(1, 3)]
    extra = [m.integer(0, s - 1) for s in strides]
    pads = [m.integer(0, (kernel[i % 2] - 1) // 2) for i in range(4)]
    size = [
        strides[i] * (d - 1) + extra[i] + kernel[i] - pads[i] - pads[i + 2]
        for i, d in enumerate((h, w))
    ]
    shape = (n, each * group, *size)
    if not m.fits(shape):
        return False
    inputs = [x, m.normal(c, each, *kernel)]
    if m.flag():
        inputs.append(m.normal(each * group))
    m.op(
        "ConvTranspose",
        inputs,
        shape,
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        output_padding=extra,
        group=group,
    )
    return True


def _gemm(m: Maker) -> bool:
    x = m.tensor(2)
    if x is None:
        return False
    n, k = m.shapes[x]
    outputs = m.integer(1, 5)
    inputs = [x, m.normal(outputs, k)]
    if m.flag():
        inputs.append(m.normal(outputs))
    m.op("Gemm", inputs, (n, outputs), transB=1)
    return True


def _matmul_constant(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    outputs = m.integer(1, 4)
    lead = shape[1:-2] if len(shape) > 2 and m.flag() else ()
    m.op("MatMul", [x, m.normal(*lead, shape[-1], outputs)], (*shape[:-1], outputs))
    return True


def _matmul_constant_left(m: Maker) -> bool:
    x = m.tensor(3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    rows = m.integer(1, 4)
    m.op("MatMul", [m.normal(rows, shape[-2]), x], (*shape[:-2], rows, shape[-1]))
    return True


def _matmul_computed(m: Maker) -> bool:
    x = m.tensor(3, 4)
    # Drawn less often: with 16-bit operands it is refused, and so is the whole graph.
    if x is None or not m.pick([True, False, False]):
        return False
    shape = m.shapes[x]
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    turned = tuple(shape[i] for i in order)
    product = (*shape[:-1], shape[-2])
    if not m.fits(product):
        return False
    [other] = m.op("Transpose", [x], turned, perm=order)
    m.op("MatMul", [x, other], product)
    return True


def _operand(m: Maker, shape: tuple[int, ...]) -> str:
    """A constant that broadcasts to ``shape``: scalar, per channel, full, or with more ones."""
    kind = m.pick(["scalar", "one", "channel", "full", "ones"])
    if kind == "scalar":
        return m.normal()
    if kind == "one":
        return m.normal(1)
    if kind == "ones":
        return m.normal(*([1] * m.integer(1, len(shape))))
    if kind == "channel" and len(shape) > 1:
        return m.normal(shape[1], *([1] * (len(shape) - 2)))
    return m.normal(1, *shape[1:]) if len(shape) > 1 else m.normal()


def _arithmetic(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    shape = m.shapes[x]
    kind = m.pick(["Add", "Add", "Sub", "Mul"])
    same = [name for name, other in m.shapes.items() if other == shape]
    spread = [
        name
        for name, other in m.shapes.items()
        if len(other) == len(shape)
        and all(a in (1, b) for a, b in zip(other[1:], shape[1:], strict=True))
        and other[0] == shape[0]
    ]
    which = m.pick(["constant", "same", "spread"])
    other = (
        _operand(m, shape) if which == "constant" else m.pick(same if which == "same" else spread)
    )
    pair = [x, other] if m.flag() else [other, x]
    m.op(kind, pair, shape)
    return True


#: Element-wise operators: name, attributes, constant second input.
_UNARY: tuple[tuple[str, dict[str, Any], float | None], ...] = (
    ("Relu", {}, None),
    ("LeakyRelu", {"alpha": 0.1}, None),
    ("LeakyRelu", {"alpha": 1.7}, None),
    ("LeakyRelu", {"alpha": -0.4}, None),
    ("Sigmoid", {}, None),
    ("Tanh", {}, None),
    ("HardSwish", {}, None),
    ("HardSigmoid", {"alpha": 0.2, "beta": 0.4}, None),
    ("Gelu", {}, None),
    ("Elu", {"alpha": 0.7}, None),
    ("Selu", {}, None),
    ("Softplus", {}, None),
    ("Softsign", {}, None),
    ("Abs", {}, None),
    ("Neg", {}, None),
    ("Erf", {}, None),
    ("Pow", {}, 2.0),
    ("Div", {}, 3.0),
    ("Max", {}, 0.3),
    ("Min", {}, 0.3),
)


def _unary(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    kind, attributes, second = m.pick(_UNARY)
    inputs = [x] if second is None else [x, m.const(second)]
    m.op(kind, inputs, m.shapes[x], **attributes)
    return True


def _clip(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    low, high = m.pick(
        [(0.0, 6.0), (-0.5, 0.7), (None, 0.4), (0.1, None), (0.2, 0.9), (-2.0, -0.1)]
    )
    bounds = ["" if b is None else m.const(b) for b in (low, high)]
    m.op("Clip", [x, *bounds] if high is not None else [x, bounds[0]], m.shapes[x])
    return True


def _square_root(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    [positive] = m.op("Relu", [x], m.shapes[x])
    m.op("Sqrt", [positive], m.shapes[x])
    return True


def _swish(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    [gate] = m.op("Sigmoid", [x], m.shapes[x])
    m.op("Mul", [gate, x] if m.flag() else [x, gate], m.shapes[x])
    return True


def _prelu(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    shape = m.shapes[x]
    forms = [(1,), (1,) * max(1, len(shape) - 1), (shape[-1],)]
    if len(shape) > 1:
        forms.append((shape[1], *([1] * (len(shape) - 2))))
    m.op("PRelu", [x, m.normal(*m.pick(forms), scale=0.3)], shape)
    return True


def _softmax(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    rank = len(m.shapes[x])
    m.op("Softmax", [x], m.shapes[x], axis=m.pick([-1, 1, rank - 1, 1 - rank]))
    return True


def _global_average(m: Maker) -> bool:
    x = m.tensor(3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    m.op("GlobalAveragePool", [x], (*shape[:2], *([1] * (len(shape) - 2))))
    return True


def _mean(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    count = m.integer(1, len(shape) - 1)
    axes = sorted(m.draw(st.permutations(range(1, len(shape))))[:count])
    keep = m.flag()
    result = [1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes]
    stated = [a - len(shape) if m.flag() else a for a in axes]
    kind = m.pick(["ReduceMean", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
    m.op(kind, [x, m.const(stated, np.int64)], result, keepdims=int(keep))
    return True


def _extreme(m: Maker) -> bool:
    x = m.tensor()
    if x is None:
        return False
    shape = m.shapes[x]
    same = [n for n, s in m.shapes.items() if s == shape and n != x]
    other = m.pick(same) if same and m.flag() else _operand(m, shape)
    if m.shapes.get(other) is None and len(_dims(m, other)) > len(shape):
        return False
    pair = [x, other] if m.flag() else [other, x]
    m.op(m.pick(["Max", "Min"]), pair, shape)
    return True


def _dims(m: Maker, constant: str) -> tuple[int, ...]:
    return tuple(next(t.dims for t in m.constants if t.name == constant))


def _global_max(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    m.op("GlobalMaxPool", [x], [*m.shapes[x][:2], 1, 1])
    return True


def _pool(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    n, c, h, w = m.shapes[x]
    kernel = [m.integer(1, 3), m.integer(1, 3)]
    strides = [m.integer(1, 3), m.integer(1, 3)]
    pads = [m.integer(0, kernel[i % 2] - 1) for i in range(4)]
    ceil = m.flag()
    size = []
    for i, d in enumerate((h, w)):
        free = d + pads[i] + pads[i + 2] - kernel[i]
        if free < 0:
            return False
        out = (-(-free // strides[i]) if ceil else free // strides[i]) + 1
        if ceil and (out - 1) * strides[i] >= d + pads[i]:
            return False  # onnx's shape inference keeps this window, onnxruntime drops it
        size.append(out)
    kind = m.pick(["MaxPool", "AveragePool"])
    m.op(
        kind,
        [x],
        (n, c, *size),
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        ceil_mode=int(ceil),
    )
    return True


def _reshape(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    shape = m.shapes[x]
    rest = int(np.prod(shape[1:]))
    divisors = [d for d in range(1, rest + 1) if rest % d == 0]
    d = m.pick(divisors)
    form = m.pick(["zero", "minus", "three", "four", "flatten"])
    if form == "flatten":
        m.op(
            "Flatten",
            [x],
            (shape[0], rest),
            axis=m.pick([1, 1 - len(shape)]) if len(shape) > 1 else 1,
        )
        return True
    targets = {
        "zero": ([0, -1], (shape[0], rest)),
        "minus": ([-1, d], (shape[0] * rest // d, d))
        if not m.symbolic
        else ([0, d, -1], (shape[0], d, rest // d)),
        "three": ([0, d, -1], (shape[0], d, rest // d)),
        "four": ([0, d, 1, -1], (shape[0], d, 1, rest // d)),
    }
    target, result = targets[form]
    if len(shape) == 1 and form != "minus":
        target = [-1 if t == 0 else t for t in target] if target.count(-1) == 0 else target
    m.op("Reshape", [x, m.const(target, np.int64)], result)
    return True


def _transpose(m: Maker) -> bool:
    x = m.tensor(3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    order = [0, *m.draw(st.permutations(range(1, len(shape))))]
    m.op("Transpose", [x], [shape[i] for i in order], perm=order)
    return True


def _squeeze(m: Maker) -> bool:
    x = m.tensor()
    assert x is not None
    shape = m.shapes[x]
    ones = [i for i, d in enumerate(shape) if d == 1 and i > 0]
    if ones and m.flag():
        axis = m.pick(ones)
        stated = axis - len(shape) if m.flag() else axis
        m.op("Squeeze", [x, m.const([stated], np.int64)], shape[:axis] + shape[axis + 1 :])
        return True
    if len(shape) > 3:
        return False
    axis = m.integer(1, len(shape))
    m.op("Unsqueeze", [x, m.const([axis], np.int64)], (*shape[:axis], 1, *shape[axis:]))
    return True


def _slice(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = list(m.shapes[x])
    axis = m.integer(1, len(shape) - 1)
    step = m.pick([1, 2, -1, -2])
    start = m.integer(-shape[axis], shape[axis] - 1)
    end = m.pick([np.iinfo(np.int64).min, -1, 0, 1, np.iinfo(np.int64).max])
    stop = end if step > 0 or end > -10 else None
    size = len(range(shape[axis])[slice(start, stop, step)])
    if size < 1:
        return False
    shape[axis] = size
    parameters = [m.const([v], np.int64) for v in (start, end, axis, step)]
    m.op("Slice", [x, *parameters], shape)
    return True


def _pad(m: Maker) -> bool:
    x = m.tensor(3, 4)
    if x is None:
        return False
    shape = list(m.shapes[x])
    axis = m.integer(1, len(shape) - 1)
    mode = m.pick(["constant", "constant", "reflect", "edge"])
    limit = min(2, shape[axis] - 1) if mode == "reflect" else 2
    low = -1 if mode == "constant" and shape[axis] > 2 else 0
    amounts = [m.integer(low, limit), m.integer(low, limit)]
    shape[axis] += sum(amounts)
    if not m.fits(shape):
        return False
    inputs = [x]
    fill = m.const(m.pick([0.0, 0.8, -3.0])) if mode == "constant" and m.flag() else ""
    if m.flag():
        inputs += [m.const(amounts, np.int64), fill, m.const([axis], np.int64)]
    else:
        rank = len(shape)
        full = [0] * (2 * rank)
        full[axis], full[axis + rank] = amounts
        inputs += [m.const(full, np.int64), *([fill] if fill else [])]
    m.op("Pad", inputs, shape, mode=mode)
    return True


def _split(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = list(m.shapes[x])
    axis = m.integer(1, len(shape) - 1)
    if shape[axis] < 2:
        return False
    first = m.integer(1, shape[axis] - 1)
    sizes = [first, shape[axis] - first]
    if m.flag() and shape[axis] > 2:
        half = -(-shape[axis] // 2)
        sizes = [half, shape[axis] - half]
        inputs, attributes = [x], {"num_outputs": 2}
    else:
        inputs, attributes = [x, m.const(sizes, np.int64)], {}
    stated = axis - len(shape) if m.flag() else axis
    results = [(*shape[:axis], s, *shape[axis + 1 :]) for s in sizes]
    m.op("Split", inputs, *results, axis=stated, **attributes)
    if m.flag():
        # One part is never read.
        m.shapes.pop(m.nodes[-1].output[m.integer(0, 1)])
    return True


def _concat(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    axis = m.integer(1, len(shape) - 1)
    mates = [
        n
        for n, s in m.shapes.items()
        if len(s) == len(shape) and s[:axis] == shape[:axis] and s[axis + 1 :] == shape[axis + 1 :]
    ]
    inputs = [x] + [m.pick(mates) for _ in range(m.integer(1, 2))]
    total = sum(m.shapes[n][axis] for n in inputs)
    if m.flag() and not m.symbolic:
        inputs.insert(m.integer(0, 1), m.normal(*shape))
        total += shape[axis]
    result = (*shape[:axis], total, *shape[axis + 1 :])
    if not m.fits(result):
        return False
    stated = axis - len(shape) if m.flag() else axis
    m.op("Concat", inputs, result, axis=stated)
    return True


def _gather(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    axis = m.integer(1, len(shape) - 1)
    if m.flag() and len(shape) > 2:
        index: Any = m.integer(-shape[axis], shape[axis] - 1)
        result = shape[:axis] + shape[axis + 1 :]
    else:
        index = [m.integer(0, shape[axis] - 1) for _ in range(m.integer(1, 3))]
        result = (*shape[:axis], len(index), *shape[axis + 1 :])
    m.op("Gather", [x, m.const(index, np.int64)], result, axis=axis)
    return True


def _tile(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    repeats = [1] + [m.integer(1, 2) for _ in shape[1:]]
    result = [d * r for d, r in zip(shape, repeats, strict=True)]
    if not m.fits(result):
        return False
    m.op("Tile", [x, m.const(repeats, np.int64)], result)
    return True


def _expand(m: Maker) -> bool:
    x = m.tensor(2, 3, 4)
    if x is None:
        return False
    shape = m.shapes[x]
    target = [1] + [d if d > 1 else m.integer(1, 3) for d in shape[1:]]
    m.op("Expand", [x, m.const(target, np.int64)], [shape[0], *target[1:]])
    return True


def _resize(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    n, c, h, w = m.shapes[x]
    mode = m.pick(["nearest", "nearest", "linear"])
    coordinates = m.pick(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = m.pick(
            ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
        )
    form = m.pick(["scales", "scales", "sizes", "axes"])
    if form == "scales":
        scales = [m.pick([1.0, 2.0, 3.0, 1.5, 0.5]) for _ in range(2)]
        size = [int(np.floor(d * s)) for d, s in zip((h, w), scales, strict=True)]
        inputs = [x, "", m.const([1, 1, *scales])]
    else:
        size = [m.integer(1, 2 * h + 1), m.integer(1, 2 * w + 1)]
        if form == "sizes" and not m.symbolic:
            inputs = [x, "", "", m.const([n, c, *size], np.int64)]
        else:
            inputs = [x, "", "", m.const(size, np.int64)]
            attributes["axes"] = [2, 3]
    if not m.fits((n, c, *size)):
        return False
    m.op("Resize", inputs, (n, c, *size), **attributes)
    return True


def _blocks(m: Maker) -> bool:
    x = m.tensor(4)
    if x is None:
        return False
    n, c, h, w = m.shapes[x]
    if c % 4 == 0 and m.flag():
        m.op(
            "DepthToSpace", [x], (n, c // 4, 2 * h, 2 * w), blocksize=2, mode=m.pick(["DCR", "CRD"])
        )
        return True
    if h % 2 or w % 2:
        return False
    m.op("SpaceToDepth", [x], (n, 4 * c, h // 2, w // 2), blocksize=2)
    return True


GROWERS: dict[str, Callable[[Maker], bool]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "gemm": _gemm,
    "matmul_constant": _matmul_constant,
    "matmul_constant_left": _matmul_constant_left,
    "matmul_computed": _matmul_computed,
    "arithmetic": _arithmetic,
    "unary": _unary,
    "clip": _clip,
    "square_root": _square_root,
    "swish": _swish,
    "prelu": _prelu,
    "softmax": _softmax,
    "global_average": _global_average,
    "global_max": _global_max,
    "mean": _mean,
    "extreme": _extreme,
    "pool": _pool,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "slice": _slice,
    "pad": _pad,
    "split": _split,
    "concat": _concat,
    "gather": _gather,
    "tile": _tile,
    "expand": _expand,
    "resize": _resize,
    "blocks": _blocks,
}


def _input_array(m: Maker, shape: Sequence[int]) -> np.ndarray:
    values = m.rng.standard_normal(tuple(shape)) * m.pick([1.0, 0.01, 30.0])
    return (np.abs(values) if m.flag() else values).astype(np.float32)


@st.composite
def graphs(draw: Callable[[Any], Any], most: int = 8, exclude: Sequence[str] = ()) -> RandomGraph:
    """Random graphs of 2 to ``most`` drawn operators (some add a helper of their own)."""
    m = Maker(draw, exclude)
    feeds: dict[str, np.ndarray] = {}
    for index in range(m.integer(1, 2)):
        rank = m.pick([2, 3, 4, 4, 4])
        channels = m.pick([1, 2, 3, 4])
        shape = [m.batch, channels, *(m.pick([1, 2, 3, 5, 6]) for _ in range(rank - 2))]
        name = f"x{index}"
        m.shapes[name] = tuple(shape)
        feeds[name] = _input_array(m, shape)
    names = [n for n in GROWERS if n not in m.exclude]
    for _ in range(m.integer(2, most)):
        GROWERS[m.pick(names)](m)
        if m.nodes and m.pick([True, False, False]):
            (_unary if m.flag() else _clip)(m)
    if not m.nodes:
        m.op("Relu", ["x0"], m.shapes["x0"])
    return RandomGraph(_finish(m, feeds), feeds, m.operators)


def _finish(m: Maker, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    computed = [o for node in m.nodes for o in node.output if o in m.shapes]
    ends = [name for name in computed if name not in m.readers]
    # An output that others read, too.
    middle = [name for name in computed if name in m.readers]
    if middle and m.flag():
        ends.append(m.pick(middle))
    read = m.readers | set(ends)
    inputs = []
    for name in list(feeds):
        if name not in read:
            del feeds[name]
            continue
        dims: list[Any] = list(feeds[name].shape)
        if m.symbolic:
            dims[0] = BATCH
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends]
    used = {name for node in m.nodes for name in node.input}
    constants = [c for c in m.constants if c.name in used]
    graph = helper.make_graph(m.nodes, "random", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)
