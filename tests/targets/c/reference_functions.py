"""The judge of layers whose specification is a function of the dialect: onnxruntime runs its body.

``reference(layer, arrays)`` gives what a layer makes of the arrays of its inputs.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c import network as layers
from tests.passes.dialect.one_node import run, scalars, to


def reference(layer, arrays):
    """Output of ``layer``.

    Args:
        layer: An element-wise layer, a table, a softmax or a linear resizing.
        arrays: One for each of its inputs, constants included.
    """
    result = _FUNCTIONS[type(layer)](layer, *arrays)
    assert result.dtype == np.dtype(layer.output.dtype)
    return result.reshape(layer.output.shape)


def covers(layer):
    """Whether :func:`reference` knows the layer."""
    return type(layer) in _FUNCTIONS


def _sum(layer, a, b):
    rounding = _rounding(layer.rescale, layer.first, layer.second)
    operands = scalars(
        a_zero_point=layer.inputs[0].zero_point,
        b_zero_point=layer.inputs[1].zero_point,
        left_shift=layer.left_shift,
        **_scale("a_", layer.first),
        **_scale("b_", layer.second),
        **_stage(layer.rescale),
    )
    name = f"{'Add' if layer.sign > 0 else 'Sub'}{rounding}"
    return _run(name, {"a": a, "b": b, **operands}, layer, to=to(layer.output.dtype))


def _multiplication(layer, a, b):
    operands = scalars(
        a_zero_point=layer.inputs[0].zero_point,
        b_zero_point=layer.inputs[1].zero_point,
        **_stage(layer.rescale),
    )
    name = f"Mul{_rounding(layer.rescale)}"
    return _run(name, {"a": a, "b": b, **operands}, layer, to=to(layer.output.dtype))


def _extreme(layer, *arrays):
    name = "MaxInteger" if layer.largest else "MinInteger"
    result = arrays[0]
    for other in arrays[1:]:
        rank = max(result.ndim, other.ndim)
        result = run(name, {"a": result, "b": other}, layer.output.dtype, rank=rank)
    return result


def _requantization(layer, x):
    acc = x.astype(np.int32) - np.int32(layer.inputs[0].zero_point)
    acc = np.abs(acc) if layer.magnitude else acc
    return rescale(layer.rescale, acc, layer.output.dtype)


def rescale(form, acc, dtype):
    """Accumulators through the function of the rounding of ``form``, a rescale with one scale."""
    rounding = _rounding(form)
    numbers = _stage(form)
    inputs = {"acc": acc}
    if rounding in ("Wide", "Real"):
        inputs["acc"] = acc.astype(np.int64)
    if rounding == "Real":
        mantissa = numbers.pop("multiplier")
        inputs["mantissa"] = np.array(mantissa, np.int64)
    return run(f"Rescale{rounding}", {**inputs, **scalars(**numbers)}, dtype, to=to(dtype))


def _prelu(layer, x, slope):
    numbers = scalars(
        x_zero_point=layer.inputs[0].zero_point,
        **_scale("positive_", layer.positive),
        **_scale("negative_", layer.negative),
        **{key: value for key, value in _stage(layer.positive).items() if key not in _SCALE},
    )
    inputs = {"x": x, "x_zero_point": numbers.pop("x_zero_point"), "slope": slope, **numbers}
    name = f"PRelu{_rounding(layer.positive, layer.negative)}"
    return _run(name, inputs, layer, to=to(layer.output.dtype))


def _table(layer, x):
    if layer.table.ndim == 1:
        return run("Table", {"x": x, "table": layer.table}, layer.output.dtype)
    rows = x.reshape(-1, x.shape[-1])
    inputs = {"x": rows, "table": layer.table}
    if layer.output.dtype == "int16":
        # The function has int8 tables only: channel by channel, then.
        columns = [
            run("Table", {"x": column.copy(), "table": entries}, "int16")
            for column, entries in zip(rows.T, layer.table, strict=True)
        ]
        return np.stack(columns, axis=-1)
    return run("TableChannelwise", inputs, layer.output.dtype)


def _interpolated_table(layer, x):
    return run("TableInterpolated", {"x": x, "table": layer.table}, np.int16)


def _sigmoid16(layer, x):
    numbers = scalars(multiplier=layer.multiplier, shift=layer.shift)
    name = "TanhInteger16" if layer.tanh else "SigmoidInteger16"
    return run(name, {"x": x, "table": np.asarray(layer.table, np.int32), **numbers}, np.int16)


def _softmax(layer, x):
    return run("SoftmaxInteger", {"x": x, **layer.constants}, np.int8, axis=-1)


def _softmax16(layer, x):
    return run("SoftmaxInteger16", {"x": x, **layer.constants}, np.int16, axis=-1)


def _resize_linear(layer, x):
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    made = run("ResizeLinearInteger", {"x": first, **layer.constants}, layer.output.dtype)
    return np.ascontiguousarray(made.transpose(0, 2, 3, 1))


_SCALE = ("multiplier", "shift")


def _scale(prefix, form):
    return {
        f"{prefix}multiplier": int(form.multiplier.item()),
        f"{prefix}shift": int(form.shift.item()),
    }


def _stage(form):
    return {
        **_scale("", form),
        "zero_point": form.zero_point,
        "minimum": form.minimum,
        "maximum": form.maximum,
    }


def _rounding(*forms):
    (rounding,) = {form.rounding.value for form in forms}
    return rounding.capitalize()


def _run(name, inputs, layer, **attributes):
    rank = max(np.ndim(value) for value in inputs.values())
    return run(name, inputs, layer.output.dtype, rank=rank, **attributes)


_FUNCTIONS = {
    layers.Sum: _sum,
    layers.Multiplication: _multiplication,
    layers.Extreme: _extreme,
    layers.Requantization: _requantization,
    layers.PRelu: _prelu,
    layers.Table: _table,
    layers.InterpolatedTable: _interpolated_table,
    layers.Sigmoid16: _sigmoid16,
    layers.Softmax: _softmax,
    layers.Softmax16: _softmax16,
    layers.ResizeLinear: _resize_linear,
}
