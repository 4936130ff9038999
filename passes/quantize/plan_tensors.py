"""Decides how every tensor is quantized, from the calibrated ranges.

The plan is a note (:mod:`intaglio.passes.annotations`) on each value: activations int8 asymmetric
or int16 symmetric per tensor, weights int8 symmetric per output channel, biases int32 at
``s_x * s_w``, after the TensorFlow Lite 8-bit quantization specification. A weight with a note of
its own grid (:mod:`intaglio.passes.quantize.weight_grid`) gets that. Values joined by
operators that only move data share one quantization. Where ``s_x * s_w`` is so small that a bias
would not fit int32, that channel's weight scale is raised, and the Outcome says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.annotations import (
    get_extremes,
    get_precision,
    get_quantization,
    get_range,
    set_quantization,
)
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_quantized
from intaglio.passes.operators import (
    EXTREMES,
    FIXED_INT8_OUTPUT,
    FIXED_INT16_SCALE,
    MOVES,
    WEIGHTED,
    Units,
    constant_array,
    data_inputs,
    find_units,
    is_constant,
    is_elementwise,
    is_float,
    required_array,
)
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.weight_grid import get_weight_grid
from intaglio.passes.selectors import select_nodes
from intaglio.transforms.scales import (
    TensorQuantization,
    activation_quantization,
    bias_quantization,
    weight_quantization,
    weight_scales_for_bias,
)


class PlanConfig(PassConfig):
    """Options of :class:`PlanTensors`.

    Attributes:
        activations: ``int8``, ``int16``, or ``uint8`` (for QDQ files on CPUs with VNNI or on Arm).
        per_channel: One weight scale per output channel, else one per tensor.
        sixteen_bit: Selectors of operators whose outputs are int16 whatever ``activations`` says.
    """

    activations: str = "int8"
    per_channel: bool = True
    sixteen_bit: tuple[str, ...] = ()


class PlanTensors(Pass):
    """Notes a quantization on every activation, weight and bias."""

    name = "quantize.plan_tensors"
    semantics = APPROXIMATE
    Config = PlanConfig

    def call(self, model: ir.Model) -> Outcome:
        """Plans ``model`` in place."""
        if self.config.activations not in ("int8", "int16", "uint8"):
            raise RecipeError(
                f"quantize.plan_tensors.activations is {self.config.activations!r}",
                remedy="use int8, int16 or uint8",
            )
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        units = find_units(model.graph)
        if all(get_quantization(v) is not None for v in units.points):
            return outcome(model, [], [Skip("", "every tensor has a plan already")])
        classes = _shared_scales(model.graph, units)
        sixteen = self._sixteen_bit_values(model)
        changes: list[Change] = []
        for members in classes:
            quantization = self._activation(members, sixteen)
            for value in members:
                set_quantization(value, quantization)
        repaired = 0
        for node in model.graph:
            for change in self._parameters(node):
                changes.append(change)
                repaired += change.kind == "bias-fit"
        changes.insert(
            0,
            Change("plan", "", "float32", self.config.activations, f"{len(units.points)} tensors"),
        )
        wide = sum(
            1 for v in units.points if (q := get_quantization(v)) is not None and q.dtype == "int16"
        )
        facts = {
            "activations": len(units.points),
            "sixteen_bit_activations": wide,
            "scale_classes": len(classes),
            "bias_repairs": repaired,
        }
        return outcome(model, changes, facts=facts)

    def _sixteen_bit_values(self, model: ir.Model) -> set[ir.Value]:
        names = select_nodes(model.graph, self.config.sixteen_bit, "quantize.sixteen_bit")
        return {v for node in model.graph if str(node.name) in names for v in node.outputs}

    def _activation(self, members: list[ir.Value], sixteen: set[ir.Value]) -> TensorQuantization:
        chosen = {get_precision(value) for value in members} - {None}
        if any(_represents(value, sixteen) for value in members):
            chosen.add("int16")
        # Where members of a class disagree, the finer one is what all of them can live with.
        dtype = (
            "int16" if "int16" in chosen else next(iter(chosen), None) or self.config.activations
        )
        low, high = float("inf"), float("-inf")
        found: tuple[float, float] | None
        for value in members:
            array = constant_array(value) if is_constant(value) else None
            if array is not None:
                found = (float(np.min(array)), float(np.max(array)))
            elif dtype == "int16":
                # A range clipped for 256 levels throws away what 16 bits can hold.
                found = get_extremes(value) or get_range(value)
            else:
                found = get_range(value)
            if found is None:
                raise RecipeError(
                    f"tensor '{value.name}' has no calibrated range",
                    remedy="run calibrate.observe_ranges first, or give --plan",
                )
            low, high = min(low, found[0]), max(high, found[1])
        fixed = _fixed_output(members)
        if fixed is not None and dtype == "int16":
            return TensorQuantization(dtype, (FIXED_INT16_SCALE,), (0,))
        if fixed is not None:
            scale, zero_point = fixed
            return TensorQuantization(dtype, (scale,), (zero_point + 128 * (dtype == "uint8"),))
        try:
            return activation_quantization(low, high, dtype)
        except ValueError as error:
            raise RecipeError(
                f"tensor '{members[0].name}' cannot be quantized: {error}",
                remedy="check the model's weights and the scaling of the calibration samples",
            ) from error

    def _parameters(self, node: ir.Node) -> Iterable[Change]:
        if node.op_type == "PRelu":
            # A slope of 8 bits would leave 8 bits of a negative number.
            wide = _operand_dtype(node, self.config.activations) == "int16"
            _plan_constant(node.inputs[1], None, "int16" if wide else "int8")
        elif node.op_type in ("Add", "Sub", "Mul") and not is_elementwise(node):
            for value in node.inputs:
                array = constant_array(value) if is_constant(value) else None
                if value is not None and array is not None:
                    low, high = float(np.min(array)), float(np.max(array))
                    dtype = _operand_dtype(node, self.config.activations)
                    set_quantization(value, activation_quantization(low, high, dtype))
        elif node.op_type == "MatMul":
            first, weight = node.inputs[0], node.inputs[1]
            grid = get_weight_grid(weight)
            if weight is not None and grid is not None:
                set_quantization(weight, grid.quantization(required_array(weight)))
            elif weight is not None and is_constant(weight) and weight.shape is not None:
                rank = len(weight.shape)
                _plan_constant(weight, rank - 1 if self.config.per_channel and rank == 2 else None)
            wide = _operand_dtype(node, self.config.activations) == "int16"
            _plan_constant(first, None, "int16" if wide else "int8")
        elif node.op_type in WEIGHTED and is_constant(node.inputs[1]):
            yield from self._weight_and_bias(node)

    def _weight_and_bias(self, node: ir.Node) -> Iterable[Change]:
        data, weight = node.inputs[0], node.inputs[1]
        assert data is not None
        assert weight is not None
        axis = weight_axis(node) if self.config.per_channel else None
        grid = get_weight_grid(weight)
        if grid is None:
            quantization = weight_quantization(required_array(weight), axis)
        else:
            quantization = grid.quantization(required_array(weight))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        source = get_quantization(data)
        if source is None:
            raise RecipeError(
                f"input '{data.name}' of {node.op_type} '{source_name(node)}' is not quantized",
                remedy="the operator before it is not supported; see `intaglio inspect`",
            )
        if bias is not None and is_constant(bias):
            array = np.asarray(constant_array(bias), np.float64)
            scales = len(quantization.scale)
            # A grouped ConvTranspose has one scale for the same channel of every group.
            per_scale = np.abs(array).reshape(-1, scales).max(axis=0) if scales > 1 else array
            raised = weight_scales_for_bias(per_scale, source.scale[0], quantization.scale)
            for channel in raised.channels:
                yield Change(
                    "bias-fit",
                    source_name(node),
                    f"{quantization.scale[channel]:.3g}",
                    f"{raised.scales[channel]:.3g}",
                    f"the bias of channel {channel} did not fit int32; weight scale raised",
                )
            quantization = dataclasses.replace(quantization, scale=raised.scales)
            planned = bias_quantization(source.scale[0], quantization)
            repeats = array.size // len(planned.scale) if planned.axis is not None else 1
            if repeats > 1:
                planned = dataclasses.replace(
                    planned, scale=planned.scale * repeats, zero_point=planned.zero_point * repeats
                )
            set_quantization(bias, planned)
        set_quantization(weight, quantization)


def weight_axis(node: ir.Node) -> int:
    """Output channel axis of the weight of a Conv, ConvTranspose or Gemm in normal form."""
    return 1 if node.op_type == "ConvTranspose" else 0


def _plan_constant(value: ir.Value | None, axis: int | None, dtype: str = "int8") -> None:
    array = constant_array(value) if is_constant(value) else None
    if value is not None and array is not None:
        set_quantization(value, weight_quantization(array, axis, dtype))


def _operand_dtype(node: ir.Node, default: str) -> str:
    for value in data_inputs(node):
        found = get_quantization(value)
        if found is not None:
            return found.dtype
    return default


def _represents(value: ir.Value, chosen: set[ir.Value]) -> bool:
    """Whether ``value`` is chosen, or is the clamp behind a chosen kernel output."""
    producer = value.producer()
    if value in chosen:
        return True
    return (
        producer is not None
        and producer.op_type in ("Relu", "Clip")
        and producer.inputs[0] in chosen
    )


def _fixed_output(members: list[ir.Value]) -> tuple[float, int] | None:
    made = [v.producer() for v in members if not is_constant(v)]
    makers = {n for n in made if n is not None and n.op_type not in MOVES | EXTREMES}
    if len(makers) != 1 or any(n is None for n in made):
        return None
    return FIXED_INT8_OUTPUT.get(makers.pop().op_type)


def _shared_scales(graph: ir.Graph, units: Units) -> list[list[ir.Value]]:
    """Groups the quantization points that must have the same scale, in graph order."""
    parent: dict[ir.Value, ir.Value] = {v: v for v in units.points}

    def find(value: ir.Value) -> ir.Value:
        while parent[value] is not value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    for node in graph:
        if node.op_type not in (MOVES | EXTREMES) - {"Identity"}:
            continue
        if node.outputs[0] in units.roots:
            continue  # a Max or Min inside a table
        several = node.op_type in ("Concat", "Max", "Min")
        tied = list(node.inputs) if several else [node.inputs[0]]
        joined = [v for v in (*tied, *node.outputs) if v is not None and is_float(v)]
        for value in joined:
            parent.setdefault(value, value)
        for value in joined[1:]:
            first, second = find(joined[0]), find(value)
            if first is not second:
                parent[second] = first
    groups: dict[ir.Value, list[ir.Value]] = {}
    for value in parent:
        groups.setdefault(find(value), []).append(value)
    return list(groups.values())
