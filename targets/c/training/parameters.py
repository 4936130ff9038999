"""What a step needs to know of each parameter: a table in C, and the calls that go through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from intaglio.errors import InternalError
from intaglio.targets.c.arrays import ArrayStore
from intaglio.targets.c.kernels.base import Array
from intaglio.targets.c.network import Network, Tensor, Variable
from intaglio.targets.c.training.loops import loop_name
from intaglio.targets.c.training.masks import Kind, hash_bound, kind_of, stored_bits
from intaglio.targets.c.training.packing import Packed, pack_variables
from intaglio.transforms.forward_gradient.randomness import COUNTER_FACTOR
from intaglio.transforms.forward_gradient.specification import Parameter, StepSpecification

_WORD = 1 << 32


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of a step, and where they lie.

    Attributes:
        specification: What the step does.
        packed: Place of each parameter, by number.
    """

    specification: StepSpecification
    packed: tuple[Packed, ...]

    @staticmethod
    def of(specification: StepSpecification, variables: Sequence[Variable]) -> Parameters:
        """Those of a network.

        Raises:
            InternalError: Its variables are others than those of the specification.
        """
        by_name = {variable.tensor.name: variable for variable in variables}
        stated = specification.parameters
        if set(by_name) != {parameter.name for parameter in stated}:
            raise InternalError("the network reads other weights than the specification states")
        packed = pack_variables([by_name[parameter.name] for parameter in stated])
        for parameter, place in zip(stated, packed, strict=True):
            if (parameter.shape, parameter.dtype) != (place.shape, place.dtype):
                raise InternalError(f"'{parameter.name}' is not {place.dtype} {place.shape}")
        return Parameters(specification, packed)

    @property
    def kinds(self) -> dict[str, tuple[str, Kind]]:
        """Type and mask of each loop that is needed, by its name."""
        found = {}
        for parameter in self.specification.parameters:
            kind = kind_of(parameter)
            found[loop_name(parameter.dtype, kind)] = (parameter.dtype, kind)
        return found

    @property
    def moving_kinds(self) -> list[tuple[str, Kind]]:
        """Those of the loops that probes need."""
        both = zip(self.moved("distance"), self.moved("radius"), strict=True)
        moved = [far or (centre and self.specification.sharpness) for far, centre in both]
        names = {
            loop_name(p.dtype, kind_of(p))
            for p, is_moved in zip(self.specification.parameters, moved, strict=True)
            if is_moved
        }
        return [found for name, found in self.kinds.items() if name in names]

    def places(self, network: Network) -> dict[Tensor, str]:
        """Expression of the pointer to each variable's numbers."""
        members = {place.name: place.member for place in self.packed}
        tensors = [variable.tensor for variable in network.variables]
        return {tensor: f"weights->{members[tensor.name]}" for tensor in tensors}

    def struct(self) -> str:
        """The struct of the table."""
        masks = {kind for _, kind in self.kinds.values()}
        lines = [
            "    uint32_t number;",
            "    int32_t sizes[3];    /* of nested loops over the memory */",
            "    uint32_t strides[3]; /* of the index in ONNX layout, times the hash's factor */",
            "    int32_t distance;    /* how far a probe goes along z = 1 */",
        ]
        if self.specification.sharpness:
            lines.append("    int32_t radius;      /* how far the centre of the probes lies off */")
        lines += ["    int32_t multiplier;  /* of the update, then the shift to the right */"]
        lines += ["    uint32_t shift;", "    int32_t limit;"]
        if Kind.HASH in masks:
            lines.append("    uint32_t mask_seed, mask_most;")
        if Kind.BITS in masks:
            lines.append("    const uint8_t *moves;")
        text = "\n".join(lines)
        return f"/* A tensor that is trained. */\nstruct parameter {{\n{text}\n}};"

    def table(self, store: ArrayStore, variants: Sequence[str]) -> str:
        """The table; takes the masks' bits to the store."""
        entries = [
            self._entry(parameter, place, store, variants)
            for parameter, place in zip(self.specification.parameters, self.packed, strict=True)
        ]
        return (
            f"static const struct parameter parameters[{len(entries)}] = {{\n"
            + "\n".join(entries)
            + "\n};"
        )

    def _entry(
        self, parameter: Parameter, place: Packed, store: ArrayStore, variants: Sequence[str]
    ) -> str:
        masks = {kind for _, kind in self.kinds.values()}
        sizes, strides = place.walk()
        spread = [f"{stride * COUNTER_FACTOR % _WORD}u" for stride in strides]
        seed, most = hash_bound(parameter)
        parts = [
            f"{parameter.number}u",
            f"{{{', '.join(map(str, sizes))}}}",
            f"{{{', '.join(spread)}}}",
            str(parameter.epsilon),
        ]
        if self.specification.sharpness:
            parts.append(str(parameter.radius))
        # Below a threshold of 0 lies no hash.
        parts += [str(parameter.multiplier if most >= 0 else 0), f"{parameter.shift}u"]
        parts.append(str(parameter.limit))
        if Kind.HASH in masks:
            parts += [f"{seed}u", f"{max(0, most)}u"]
        if Kind.BITS in masks:
            bits = "NULL"
            if kind_of(parameter) is Kind.BITS:
                arrays = [Array("moves", stored_bits(parameter, place))]
                for variant in variants:
                    bits = store.add(parameter.name, arrays, variant)["moves"]
            parts.append(bits)
        return f"    {{{', '.join(parts)}}}, /* {place.member} */"

    def moved(self, distance: str) -> list[bool]:
        """Which parameters a probe moves at all by their ``distance`` or ``radius``."""
        return [
            (p.epsilon if distance == "distance" else p.radius) > 0 and hash_bound(p)[1] >= 0
            for p in self.specification.parameters
        ]

    def moves(self, distance: str) -> list[str]:
        """Calls that move every parameter ``times`` its ``distance`` for a probe."""
        lines = []
        for index, (parameter, place, is_moved) in enumerate(
            zip(self.specification.parameters, self.packed, self.moved(distance), strict=True)
        ):
            if not is_moved:
                continue
            name = loop_name(parameter.dtype, kind_of(parameter))
            stream = f"stream(seed, probe, parameters[{index}].number)"
            lines.append(f"    move_{name}(weights->{place.member}, &parameters[{index}],")
            lines.append(f"        {stream}, parameters[{index}].{distance}, times);")
        return lines

    def updates(self) -> list[str]:
        """Calls that update every parameter."""
        return [
            f"    update_{loop_name(parameter.dtype, kind_of(parameter))}"
            f"(weights->{place.member}, &parameters[{index}], seed, signs, step_shift);"
            for index, (parameter, place) in enumerate(
                zip(self.specification.parameters, self.packed, strict=True)
            )
        ]


def require_known(specification: StepSpecification) -> None:
    """Refuses numbers that the C types of the table do not hold.

    Raises:
        InternalError: One is too large.
    """
    for parameter in specification.parameters:
        numbers = (parameter.epsilon, parameter.radius, parameter.multiplier, parameter.limit)
        if min(numbers) < 0 or max(numbers) > (1 << 31) - 1 or not 0 <= parameter.shift <= 31:
            raise InternalError(f"'{parameter.name}' has a number out of range")
