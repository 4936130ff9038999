"""Resize: nearest as a move, linear as TFLite's 10-bit RESIZE_BILINEAR.

Integer kernels know sizes only: their scale is the quotient of the sizes. ONNX may state another
(``scales`` of 1.5 make 7 elements of 5, and 5 * 1.5 is not 7). A nearest Resize then becomes a
Gather along each axis, which is exact for any scale; a linear one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Quantized, onnx_type
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Scope, Unit, attribute, static_dims
from intaglio.passes.operators import constant_array
from intaglio.transforms.resize import linear_neighbors

_BIND = "bind the symbolic dimensions with --shape NAME=1,3,96,96"


def lower_resize(scope: Scope, unit: Unit) -> ir.Value:
    """Resize in either mode."""
    node = unit.node
    if text(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise RefusedError("tf_crop_and_resize has no integer form", "crop with a Slice before it")
    mode = text(node, "mode", "nearest")
    if mode == "nearest":
        return _nearest(scope, unit)
    if mode != "linear":
        raise RefusedError(f"mode '{mode}' has no integer form", "use nearest or linear")
    if attribute(node, "antialias", 0):
        raise RefusedError("antialias has no integer form", "export the model without it")
    return _linear(scope, unit)


def text(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, or ``default``."""
    found = node.attributes.get(name)
    return default if found is None else found.as_string()


def _nearest(scope: Scope, unit: Unit) -> ir.Value:
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_resized"
    scales = _stated_scales(node)
    if scales is not None and not _are_quotients(node, scales):
        result = _gathered(scope, unit, source.value, source.dtype, scales, name)
    else:
        data, dtype = source.value, source.dtype
        if dtype == "int16":
            # onnxruntime has no int16 Resize.
            dtype = "int32"
            [data] = builder.op("Cast", [data], dtype, f"{name}_int32", {"to": onnx_type(dtype)})
        kept = ("coordinate_transformation_mode", "mode", "nearest_mode")
        attributes = {key: node.attributes[key] for key in kept if key in node.attributes}
        inputs = [data, None, None, _sizes(scope, unit)]
        wide = name if dtype == source.dtype else f"{name}_wide"
        [result] = builder.op("Resize", inputs, dtype, wide, attributes, unit.shape)
        if dtype != source.dtype:
            to = {"to": onnx_type(source.dtype)}
            [result] = builder.op("Cast", [result], source.dtype, name, to, unit.shape)
    if same:
        return result
    resized = Quantized(result, source.quantization)
    return builder.requantize(resized, unit.output, unit.name, shape=unit.shape)


def _linear(scope: Scope, unit: Unit) -> ir.Value:
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    if len(node.outputs[0].shape or ()) != 4:
        raise RefusedError("only Resize of H and W in NCHW has an integer form")
    before = static_dims(node.inputs[0], [1, 2, 3], "a linear Resize")
    after = static_dims(node.outputs[0], [1, 2, 3], "a linear Resize")
    if before[0] != after[0]:
        raise RefusedError("only Resize of H and W in NCHW has an integer form")
    coordinates = text(node, "coordinate_transformation_mode", "half_pixel")
    scales = _stated_scales(node)
    if coordinates != "align_corners" and scales is not None and not _are_quotients(node, scales):
        raise RefusedError(
            f"its scales {scales[2:]} are not the quotients of its sizes {after[1:]} and "
            f"{before[1:]}, which are all that integer kernels know",
            "export it with sizes (PyTorch: recompute_scale_factor=True)",
        )
    taps: list[ir.Value | None] = []
    for axis, letter in ((1, "y"), (2, "x")):
        try:
            lower, upper, weight = linear_neighbors(before[axis], after[axis], coordinates)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        taps.append(builder.constant(lower, "int64", f"{unit.name}_{letter}0"))
        taps.append(builder.constant(upper, "int64", f"{unit.name}_{letter}1"))
        taps.append(builder.constant(weight, "int32", f"{unit.name}_{letter}_weight"))
    same = source.quantization == unit.output
    name = unit.name if same else f"{unit.name}_resized"
    [result] = builder.op(
        "ResizeLinearInteger", [source.value, *taps], source.dtype, name, shape=unit.shape
    )
    if same:
        return result
    resized = Quantized(result, source.quantization)
    return builder.requantize(resized, unit.output, unit.name, shape=unit.shape)


def _stated_scales(node: ir.Node) -> list[float] | None:
    """The scale of every axis, where it is not the quotient of the sizes by definition.

    Raises:
        RefusedError: It is computed, or depends on symbolic sizes.
    """
    rank = len(node.inputs[0].shape or ()) if node.inputs[0] is not None else 0
    axes = [int(a) % rank for a in attribute(node, "axes", range(rank))]
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    if sizes is None:
        array = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
        if array is None:
            raise RefusedError("its scales are computed", _BIND)
        stated = [float(s) for s in array.reshape(-1)]
    else:
        policy = text(node, "keep_aspect_ratio_policy", "stretch")
        if policy == "stretch":
            return None
        wanted = constant_array(sizes)
        if wanted is None:
            raise RefusedError("its sizes are computed", _BIND)
        before = static_dims(node.inputs[0], axes, "a Resize that keeps the aspect ratio")
        quotients = [float(s) / d for s, d in zip(wanted.reshape(-1), before, strict=True)]
        stated = [min(quotients) if policy == "not_larger" else max(quotients)] * len(axes)
    scales = [1.0] * rank
    for axis, scale in zip(axes, stated, strict=True):
        scales[axis] = scale
    return scales


def _are_quotients(node: ir.Node, scales: Sequence[float]) -> bool:
    """Whether the scales are what the sizes make them; symbolic sizes: whole numbers only."""
    before = node.inputs[0].shape if node.inputs[0] is not None else None
    after = node.outputs[0].shape
    by_scales = len(node.inputs) < 4 or node.inputs[3] is None
    for axis, scale in enumerate(scales):
        old = before[axis] if before is not None else None
        new = after[axis] if after is not None else None
        if isinstance(old, int) and isinstance(new, int):
            if by_scales and new != int(np.float32(old) * np.float32(scale)):
                raise RefusedError(
                    f"{old} elements scaled by {scale:g} are {new} or one more, by how one rounds",
                    "export it with sizes",
                )
            if np.float32(scale) != np.float32(new / old):
                return False
        elif scale != int(scale):
            raise RefusedError("a symbolic shape needs whole-number scales", _BIND)
    return True


def _sizes(scope: Scope, unit: Unit) -> ir.Value | None:
    """Sizes of all axes, computed where some are symbolic."""
    node, builder = unit.node, scope.builder
    after = list(node.outputs[0].shape or ())
    sizes = [d if isinstance(d, int) else 0 for d in after]
    if after and all(isinstance(d, int) for d in after):
        return builder.constant(sizes, "int64", f"{unit.name}_sizes")
    scales = _stated_scales(node)
    stated = node.inputs[3] if len(node.inputs) > 3 else None
    axes = attribute(node, "axes")
    if stated is not None and constant_array(stated) is None:
        given = scope.plain(stated)
        return given if axes is None else _spread_sizes(scope, unit, given)
    factors = [
        0 if isinstance(d, int) else 1 if scales is None else int(scales[axis])
        for axis, d in enumerate(after)
    ]
    source = scope.tensor(node.inputs[0]).value
    [dims] = builder.op("Shape", [source], "int64", f"{unit.name}_input_shape")
    times = builder.constant(factors, "int64", f"{unit.name}_factors")
    [scaled] = builder.op("Mul", [dims, times], "int64", f"{unit.name}_symbolic_sizes")
    static = builder.constant(sizes, "int64", f"{unit.name}_static_sizes")
    [total] = builder.op("Add", [scaled, static], "int64", f"{unit.name}_sizes")
    return total


def _spread_sizes(scope: Scope, unit: Unit, stated: ir.Value | None) -> ir.Value:
    """Computed sizes of some axes, with those of the input for the others."""
    node, builder = unit.node, scope.builder
    rank = len(node.inputs[0].shape or ()) if node.inputs[0] is not None else 0
    order = [int(a) % rank for a in attribute(node, "axes")]
    source = scope.tensor(node.inputs[0]).value
    [dims] = builder.op("Shape", [source], "int64", f"{unit.name}_input_shape")
    parts: list[ir.Value | None] = []
    for axis in range(rank):
        origin, index = (stated, order.index(axis)) if axis in order else (dims, axis)
        place = builder.constant([index], "int64", f"{unit.name}_axis_{axis}")
        parts += builder.op("Gather", [origin, place], "int64", f"{unit.name}_size_{axis}")
    [sizes] = builder.op("Concat", parts, "int64", f"{unit.name}_sizes", {"axis": 0})
    return sizes


def _gathered(
    scope: Scope, unit: Unit, data: ir.Value, dtype: str, scales: Sequence[float], name: str
) -> ir.Value:
    """A nearest Resize as one Gather for each axis that changes."""
    node, builder = unit.node, scope.builder
    changing = [axis for axis, scale in enumerate(scales) if scale != 1.0]
    before = static_dims(node.inputs[0], changing, "a Resize by such a scale")
    after = static_dims(node.outputs[0], changing, "a Resize by such a scale")
    for axis, old, new in zip(changing, before, after, strict=True):
        places = builder.constant(
            nearest_places(node, old, new, scales[axis]), "int64", f"{unit.name}_places_{axis}"
        )
        last = axis == changing[-1]
        step = name if last else f"{name}_axis_{axis}"
        shape = unit.shape if last else None
        [data] = builder.op("Gather", [data, places], dtype, step, {"axis": axis}, shape)
    return data


def nearest_places(node: ir.Node, old: int, new: int, scale: float) -> NDArray[np.int64]:
    """Which element each element of an axis comes from, by ONNX's formulas in float32.

    float32 as in onnxruntime: positions that fall between two elements hang on the last bit.
    """
    half = np.float32(0.5)
    step = np.float32(scale)
    x = np.arange(new, dtype=np.float32)
    mode = text(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        position = x / step
    elif mode == "align_corners":
        position = x * np.float32(old - 1) / np.float32(max(new - 1, 1))
    elif mode in ("half_pixel", "pytorch_half_pixel"):
        position = (x + half) / step - half
        if mode == "pytorch_half_pixel" and new == 1:
            position = np.zeros_like(x)
    else:
        raise RefusedError(f"coordinate mode '{mode}' has no integer form with such a scale")
    round_to_element: Mapping[str, Callable[[Any], Any]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - half),
        "round_prefer_ceil": lambda p: np.floor(p + half),
    }
    rounded = round_to_element[text(node, "nearest_mode", "round_prefer_floor")](position)
    return np.asarray(np.clip(rounded.astype(np.int64), 0, old - 1))
