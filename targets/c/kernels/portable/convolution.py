"""Convolutions, dense or in groups: C functions that all layers of the same types share.

The zero point of the input is folded into the bias: ``-x_zero_point * sum of weights``.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.constants import constants, function_name
from intaglio.targets.c.kernels.portable.convolution_patches import is_whole, patch_function
from intaglio.targets.c.kernels.portable.convolution_rows import row_function
from intaglio.targets.c.kernels.portable.depthwise import convolve_depthwise, is_simple
from intaglio.targets.c.kernels.portable.dots import dot_rows
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.portable.window import declare_window, is_padded, one_row
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Convolution


def convolve(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution: over patches where there is memory for one."""
    if is_simple(layer):
        return convolve_depthwise(layer)
    window, weights = one_row(layer.window), layer.weights
    if window is not layer.window:
        weights = weights.transpose(0, 2, 1, 3)
    tensor, output = layer.inputs[0], layer.output
    data = constants(tensor, weights, layer.weight_zero_point, layer.bias, fold=True)
    stage = output_stage(layer.rescale, c_type(output.dtype), wide=data.wide)
    x, w = c_type(tensor.dtype), c_type(data.weights.dtype.name)
    y, bias = c_type(output.dtype), c_type(data.bias.dtype.name)
    dot = dot_rows(x, w, wide=data.wide)
    words = {
        "x": x,
        "w": w,
        "bias": bias,
        "sum": data.sum_type,
        "y": y,
        "stage": stage.struct,
        "dot": dot.name,
        "finish": stage.finish.name,
        "wide": "(int64_t)" if data.wide else "",
    }
    whole = is_whole(window, layer.groups)
    patch = 0 if whole else weights[:1].size * tensor.itemsize
    kind = "convolution" if patch <= budget else "convolution_by_rows"
    words["name"] = function_name(kind, x, w, bias, y, stage.name, wide=data.wide)
    needs = (dot, stage.finish)
    x_zero_point = tensor.zero_point if is_padded(window) else 0
    arguments = f"x0, @weights@, @bias@, &shape, {layer.groups}, {x_zero_point}"
    if patch <= budget:
        function = patch_function(words, needs)
        arguments += ", NULL" if whole else f",\n    ({x} *)(void *)scratch"
    else:
        function, patch = row_function(words, needs), 0
    return Implementation(
        call=f"{declare_window(window)}\n{stage.declaration}\n"
        f"{words['name']}({arguments}, &stage, y);",
        functions=(function,),
        arrays=(Array("weights", data.weights), Array("bias", data.bias), *stage.arrays),
        scratch=patch,
    )
