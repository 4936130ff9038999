"""The nodes of a training step around the calls of the loss.

::

    seed of a tensor's probe = H(0, H(0, seed + probe) + number)
    z = perturbation of that seed at the tensor's indices, times its mask
    sign = sgn(L(centre + delta) - L(centre - delta)), delta = rs(epsilon * z, 5)
    updated = clip(w - round(sum of sign * z * M / 2^k), -limit, limit)

``centre`` is w, or with ``sharpness`` a point uphill of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.train.graph_writer import GraphWriter
from intaglio.passes.train.loss_function import FUNCTION_DOMAIN, FUNCTION_NAME
from intaglio.transforms.forward_gradient.randomness import ROUNDING_STREAM, hash_seed
from intaglio.transforms.forward_gradient.specification import (
    Mask,
    Parameter,
    StepRounding,
    StepSpecification,
)

_INT8, _INT32, _INT64 = ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64
_UINT8, _UINT32, _BOOL = ir.DataType.UINT8, ir.DataType.UINT32, ir.DataType.BOOL


@dataclasses.dataclass(frozen=True)
class _Probe:
    """What one pair of calls found.

    Attributes:
        z: Perturbation of each parameter.
        plus: Loss at the centre plus the displacement, a scalar.
        minus: Loss on the other side.
        sign: Sign of the difference, an int32 scalar.
    """

    z: list[ir.Value]
    plus: ir.Value
    minus: ir.Value
    sign: ir.Value


class StepGraph:
    """Writes a step.

    Args:
        writer: Where to.
        specification: The step.
        weights: Inputs that hold the parameters, by number.
        given: What the loss function takes before the parameters.
        seed: Input that holds the seed.
    """

    def __init__(
        self,
        writer: GraphWriter,
        specification: StepSpecification,
        weights: Sequence[ir.Value],
        given: Sequence[ir.Value],
        seed: ir.Value,
    ) -> None:
        self._writer = writer
        self._specification = specification
        self._weights = list(weights)
        self._given = list(given)
        self._seed = seed
        self._zero = writer.constant(0, "int64", "int64_0")

    def write(self, step_shift: ir.Value) -> list[ir.Value]:
        """Writes everything; the new numbers, both losses and the signs are returned."""
        specification = self._specification
        self._index = [self._indices(p) for p in specification.parameters]
        pairs = zip(specification.parameters, self._index, strict=True)
        self._moves = [self._mask(p, index) for p, index in pairs]
        self._seeds()
        centre = self._weights
        if specification.sharpness:
            uphill = self._probe(specification.probes, centre)
            sign = self._writer.cast(uphill.sign, _INT64, "uphill.sign_int64")
            centre = self._uphill(uphill.z, sign)
        probes = [self._probe(number, centre) for number in range(specification.probes)]
        updated = [self._updated(i, probes, step_shift) for i in range(len(self._weights))]
        plus = self._vector([probe.plus for probe in probes], _INT64, "losses_plus")
        minus = self._vector([probe.minus for probe in probes], _INT64, "losses_minus")
        signs = self._vector([probe.sign for probe in probes], _INT32, "signs_int32")
        return [*updated, plus, minus, self._writer.cast(signs, _INT8, "signs")]

    def _indices(self, parameter: Parameter) -> ir.Value:
        """Row-major indices in the parameter's shape; a runtime folds them."""
        writer, shape = self._writer, parameter.shape
        count = writer.constant(parameter.size, "int64", f"{parameter.name}.size")
        one = writer.constant(1, "int64", "int64_1")
        flat = writer.op("Range", [self._zero, count, one], _INT64, f"{parameter.name}.counter")
        wanted = writer.constant(shape, "int64", f"{parameter.name}.shape")
        return writer.op("Reshape", [flat, wanted], _INT64, f"{parameter.name}.index", shape=shape)

    def _mask(self, parameter: Parameter, index: ir.Value) -> ir.Value | None:
        """1 where the parameter's numbers move, else 0; None where all do."""
        mask, writer, name = parameter.mask, self._writer, parameter.name
        if mask is None:
            return None
        if mask.kind == "bits":
            return self._stored_mask(parameter, mask)
        seed = writer.constant(
            hash_seed(mask.seed + parameter.number), "int64", f"{name}.mask_seed"
        )
        hashes = writer.op("CounterHash", [index, seed], _UINT32, f"{name}.mask_hash")
        threshold = writer.constant(mask.threshold, "int64", f"{name}.mask_threshold")
        wide = writer.cast(hashes, _INT64, f"{name}.mask_hash_int64")
        below = writer.op("Less", [wide, threshold], _BOOL, f"{name}.mask_below")
        return writer.cast(below, _INT32, f"{name}.mask")

    def _stored_mask(self, parameter: Parameter, mask: Mask) -> ir.Value:
        """Bits of bytes, the lowest first."""
        writer, name = self._writer, parameter.name
        packed = writer.constant(mask.packed().reshape(-1, 1), "uint8", f"{name}.mask_bytes")
        places = writer.constant(np.arange(8), "uint8", "bit_places")
        lowest = writer.constant(1, "uint8", "uint8_1")
        shifted = writer.op(
            "BitShift", [packed, places], _UINT8, f"{name}.mask_shifted", direction="RIGHT"
        )
        bits = writer.op("BitwiseAnd", [shifted, lowest], _UINT8, f"{name}.mask_bits")
        flat = writer.constant([-1], "int64", "int64_flat")
        row = writer.op("Reshape", [bits, flat], _UINT8, f"{name}.mask_row")
        begin = writer.constant([0], "int64", "int64_begin")
        end = writer.constant([parameter.size], "int64", f"{name}.mask_end")
        cut = writer.op("Slice", [row, begin, end, begin], _UINT8, f"{name}.mask_cut")
        wanted = writer.constant(parameter.shape, "int64", f"{name}.shape")
        shaped = writer.op("Reshape", [cut, wanted], _UINT8, f"{name}.mask_shaped")
        return writer.cast(shaped, _INT32, f"{name}.mask")

    def _seeds(self) -> None:
        """Seeds of all probes and tensors at once: int64 [probes, tensors]."""
        writer, specification = self._writer, self._specification
        probes = writer.constant(
            np.arange(specification.seeds_per_step)[:, None], "int64", "probe_numbers"
        )
        asked = writer.op("Add", [self._seed, probes], _INT64, "probe_seeds")
        hashed = writer.op("CounterHash", [self._zero, asked], _UINT32, "probe_hashes")
        self._probe_hashes = writer.cast(hashed, _INT64, "probe_hashes_int64")
        numbers = np.array([p.number for p in specification.parameters])
        self._streams = self._tensor_seeds(self._probe_hashes, numbers, "stream")
        if specification.rounding is StepRounding.STOCHASTIC:
            first = writer.op("Gather", [self._probe_hashes, self._zero], _INT64, "first_hash")
            self._noise = self._tensor_seeds(first, numbers + ROUNDING_STREAM, "noise")

    def _tensor_seeds(self, hashes: ir.Value, numbers: np.ndarray, name: str) -> ir.Value:
        writer = self._writer
        added = writer.constant(numbers, "int64", f"{name}_numbers")
        asked = writer.op("Add", [hashes, added], _INT64, f"{name}_asked")
        hashed = writer.op("CounterHash", [self._zero, asked], _UINT32, f"{name}_hashes")
        wide = writer.cast(hashed, _INT64, f"{name}_hashes_int64")
        flat = writer.constant([-1], "int64", "int64_flat")
        return writer.op("Reshape", [wide, flat], _INT64, f"{name}_seeds")

    def _seed_at(self, seeds: ir.Value, place: int, name: str) -> ir.Value:
        index = self._writer.constant(place, "int64", f"int64_{place}")
        return self._writer.op("Gather", [seeds, index], _INT64, name, shape=())

    def _probe(self, number: int, centre: Sequence[ir.Value]) -> _Probe:
        """One pair of calls."""
        writer = self._writer
        parameters = self._specification.parameters
        z = [self._draw(number, i) for i in range(len(parameters))]
        plus, minus = [], []
        for parameter, base, found in zip(parameters, centre, z, strict=True):
            distance = writer.constant(parameter.epsilon, "int64", f"int64_{parameter.epsilon}")
            delta = self._displacement(parameter, found, distance)
            plus.append(self._moved("Add", parameter, base, delta))
            minus.append(self._moved("Sub", parameter, base, delta))
        loss_plus = self._loss(plus, f"probe{number}.loss_plus")
        loss_minus = self._loss(minus, f"probe{number}.loss_minus")
        return _Probe(z, loss_plus, loss_minus, self._sign(loss_plus, loss_minus, number))

    def _draw(self, probe: int, place: int) -> ir.Value:
        writer, parameter = self._writer, self._specification.parameters[place]
        name = f"probe{probe}.{parameter.name}"
        at = probe * len(self._specification.parameters) + place
        seed = self._seed_at(self._streams, at, f"{name}.seed")
        operator = f"Perturb{self._specification.law.value.title()}"
        z = writer.op(
            operator, [self._index[place], seed], _INT32, f"{name}.z", shape=parameter.shape
        )
        moves = self._moves[place]
        if moves is None:
            return z
        return writer.op("Mul", [z, moves], _INT32, f"{name}.z_masked", shape=parameter.shape)

    def _displacement(self, parameter: Parameter, z: ir.Value, distance: ir.Value) -> ir.Value:
        suffix, dtype = _arithmetic(parameter)
        name = f"{z.name}.delta"
        inputs = [z, distance]
        return self._writer.op(f"Displace{suffix}", inputs, dtype, name, shape=parameter.shape)

    def _moved(
        self, operator: str, parameter: Parameter, base: ir.Value, delta: ir.Value
    ) -> ir.Value:
        """``base`` plus or minus ``delta``, in the parameter's own type."""
        writer, (_, dtype) = self._writer, _arithmetic(parameter)
        stem = f"{delta.name}.{operator.lower()}"
        wide = writer.cast(base, dtype, f"{stem}.base")
        moved = writer.op(operator, [wide, delta], dtype, f"{stem}.wide", shape=parameter.shape)
        return writer.cast(moved, _type(parameter), stem)

    def _loss(self, weights: Sequence[ir.Value], name: str) -> ir.Value:
        inputs = [*self._given, *weights]
        return self._writer.op(
            FUNCTION_NAME, inputs, _INT64, name, domain=FUNCTION_DOMAIN, shape=()
        )

    def _sign(self, plus: ir.Value, minus: ir.Value, number: int) -> ir.Value:
        """Sign of the difference, by comparisons: it is exact for all of int64."""
        writer, name = self._writer, f"probe{number}"
        above = writer.op("Greater", [plus, minus], _BOOL, f"{name}.above", shape=())
        below = writer.op("Less", [plus, minus], _BOOL, f"{name}.below", shape=())
        ones = [writer.cast(value, _INT32, f"{value.name}_int32") for value in (above, below)]
        return writer.op("Sub", ones, _INT32, f"{name}.sign", shape=())

    def _uphill(self, z: Sequence[ir.Value], sign: ir.Value) -> list[ir.Value]:
        """The point of the probes: as far as the radius in the direction that raises the loss."""
        writer, found = self._writer, []
        rows = zip(self._specification.parameters, self._weights, z, strict=True)
        for parameter, weight, drawn in rows:
            radius = writer.constant(parameter.radius, "int64", f"int64_{parameter.radius}")
            distance = writer.op(
                "Mul", [sign, radius], _INT64, f"{parameter.name}.uphill", shape=()
            )
            delta = self._displacement(parameter, drawn, distance)
            found.append(self._moved("Add", parameter, weight, delta))
        return found

    def _updated(self, place: int, probes: Sequence[_Probe], step_shift: ir.Value) -> ir.Value:
        writer, parameter = self._writer, self._specification.parameters[place]
        name, shape = parameter.name, parameter.shape
        g: ir.Value | None = None
        for number, probe in enumerate(probes):
            signed = writer.op(
                "Mul", [probe.z[place], probe.sign], _INT32, f"probe{number}.{name}.g", shape=shape
            )
            total = [signed] if g is None else [g, signed]
            g = signed if g is None else writer.op("Add", total, _INT32, f"{name}.g", shape=shape)
        assert g is not None
        inputs = [
            self._weights[place],
            g,
            writer.constant(parameter.multiplier, "int32", f"int32_{parameter.multiplier}"),
            writer.constant(parameter.shift, "int64", f"int64_{parameter.shift}"),
            step_shift,
            writer.constant(parameter.limit, "int32", f"int32_{parameter.limit}"),
        ]
        rounding = self._specification.rounding
        if rounding is StepRounding.STOCHASTIC:
            inputs += [self._index[place], self._seed_at(self._noise, place, f"{name}.noise_seed")]
        suffix, _ = _arithmetic(parameter)
        operator = f"SignStep{rounding.value.title()}{suffix}"
        return writer.op(operator, inputs, _type(parameter), f"{name}.updated", shape=shape)

    def _vector(self, scalars: Sequence[ir.Value], dtype: ir.DataType, name: str) -> ir.Value:
        writer = self._writer
        axis = writer.constant([0], "int64", "int64_begin")
        rows = [writer.op("Unsqueeze", [v, axis], dtype, f"{v.name}.row") for v in scalars]
        return writer.op("Concat", rows, dtype, name, shape=(len(rows),), axis=0)


def _arithmetic(parameter: Parameter) -> tuple[str, ir.DataType]:
    """Ending of the functions that move a parameter's numbers, and the type they compute in."""
    return ("", _INT32) if parameter.dtype == "int16" else ("Wide", _INT64)


def _type(parameter: Parameter) -> ir.DataType:
    return ir.DataType.INT16 if parameter.dtype == "int16" else _INT32
