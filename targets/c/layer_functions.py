"""One C function a layer, what they share, and where their tensors lie in the arena."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from intaglio.errors import InternalError
from intaglio.targets.c.arrays import ArrayStore
from intaglio.targets.c.describing import describe
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.naming import identifier
from intaglio.targets.c.network import Network, Tensor

_PLACEHOLDER = re.compile(r"@(\w+)@")


class LayerFunctions:
    """Writes the layers of one file.

    Args:
        network: The network.
        layouts: Code and memory on each kind of processor, by name.
        guards: Conditions of the processors.
        store: Takes the constant arrays.
    """

    def __init__(
        self, network: Network, layouts: Mapping[str, Layout], guards: Guards, store: ArrayStore
    ) -> None:
        self._network = network
        self._layouts = layouts
        self._guards = guards
        self._store = store
        self._functions: dict[str, tuple[Function, set[str]]] = {}
        width = len(str(max(0, len(network.layers) - 1)))
        self.names = [
            f"layer_{step:0{width}d}_{identifier(layer.name)}"
            for step, layer in enumerate(network.layers)
        ]
        self.uses_scratch = [
            any(layout.scratch[step] is not None for layout in layouts.values())
            for step in range(len(network.layers))
        ]

    def layer(self, step: int) -> str:
        """The function of a layer."""
        layer = self._network.layers[step]
        bodies = []
        for variant, layout in self._layouts.items():
            code = layout.implementations[step]
            self._collect(code.functions, variant)
            own = code.scratch if layout.scratch[step] is None else 0
            bodies.append((variant, self._body(step, code, variant, own)))
        arguments = [
            f"const {c_type(tensor.dtype)} *x{place}"
            for place, tensor in enumerate(layer.inputs)
            if tensor.data is None
        ]
        arguments.append(f"{c_type(layer.output.dtype)} *y")
        if self.uses_scratch[step]:
            arguments.append("uint8_t *scratch")
        comment = "\n".join(f" * {line}".rstrip() for line in describe(layer))
        names = [argument.rpartition("*")[2] for argument in arguments]
        unused = "".join(f"    (void){name};\n" for name in names)
        return (
            f"/*\n{comment}\n */\nstatic void {self.names[step]}({', '.join(arguments)})\n{{\n"
            f"{unused}{self._guards.choose(bodies)}\n}}"
        )

    def _body(self, step: int, code: Implementation, variant: str, on_stack: int) -> str:
        """Statements of one variant, with the names of the arrays."""
        layer = self._network.layers[step]
        constants = [
            Array(f"x{place}", np.asarray(tensor.data))
            for place, tensor in enumerate(layer.inputs)
            if tensor.data is not None and re.search(rf"\bx{place}\b", code.call)
        ]
        names = self._store.add(layer.name, [*code.arrays, *constants], variant)
        lines = [
            f"const {c_type(str(array.data.dtype.name))} *x{array.name[1:]} = {names[array.name]};"
            for array in constants
        ]

        if on_stack:
            declared = "" if self.uses_scratch[step] else "uint8_t *"
            lines += [f"ALIGNED uint8_t room[{on_stack}];", f"{declared}scratch = room;"]

        def name(match: re.Match[str]) -> str:
            if match.group(1) not in names:
                raise InternalError(f"the kernel of '{layer.name}' names no array {match.group(1)}")
            return names[match.group(1)]

        statements = _PLACEHOLDER.sub(name, code.call.strip("\n"))
        text = "\n".join([*lines, *statements.splitlines()])
        return "\n".join(
            f"    {line}" if line and line[0] != "#" else line for line in text.splitlines()
        )

    def _collect(self, functions: Iterable[Function], variant: str) -> None:
        for function in functions:
            self._collect(function.needs, variant)
            known = self._functions.get(function.name)
            if known is not None and known[0].text != function.text:
                raise InternalError(f"two texts of the C function {function.name}")
            self._functions.setdefault(function.name, (function, set()))[1].add(variant)

    def shared(self) -> str:
        """What the layers share."""
        return "\n\n".join(
            self._guards.wrap(variants, function.text)
            for function, variants in self._functions.values()
        )

    def offsets(self) -> str:
        """Where each tensor and the scratch memory of each layer lie in the arena."""
        tables = []
        for variant, layout in self._layouts.items():
            lines = [
                f"#define {self._offset(step)} {layout.offsets[layer.output]}"
                for step, layer in enumerate(self._network.layers)
                if layer.output in layout.offsets
            ]
            lines += [
                f"#define {self._scratch(step)} {layout.scratch[step] or 0}"
                for step in range(len(self._network.layers))
                if self.uses_scratch[step]
            ]
            tables.append((variant, "\n".join(lines)))
        text = self._guards.choose(tables)
        return f"/* Bytes from the start of the arena. */\n{text}" if text else ""

    def _offset(self, step: int) -> str:
        return f"AT_{self.names[step][6:].upper()}"

    def _scratch(self, step: int) -> str:
        return f"SCRATCH_{self.names[step][6:].upper()}"

    def pointers(self, places: Mapping[Tensor, str]) -> dict[Tensor, str]:
        """Name of the pointer to each tensor of a layer.

        Args:
            places: Those that are the caller's.
        """
        found = dict(places)
        for step, layer in enumerate(self._network.layers):
            found.setdefault(layer.output, f"at_{self.names[step][6:]}")
        return found

    def declared(self, step: int, pointers: Mapping[Tensor, str]) -> str:
        """Declaration of the pointer to a layer's output in the arena."""
        tensor = self._network.layers[step].output
        kind = c_type(tensor.dtype)
        at = self._offset(step)
        return f"    {kind} *{pointers[tensor]} = ({kind} *)(void *)(memory + {at});"

    def call(self, step: int, pointers: Mapping[Tensor, str]) -> list[str]:
        """Statements that run a layer, and the tap behind it."""
        layer = self._network.layers[step]
        upper = self._network.name.upper()
        arguments = [pointers[tensor] for tensor in layer.inputs if tensor.data is None]
        arguments.append(pointers[layer.output])
        if self.uses_scratch[step]:
            arguments.append(f"memory + {self._scratch(step)}")
        return [
            f"    {self.names[step]}({', '.join(arguments)});",
            f"    {upper}_TAP({step}, {pointers[layer.output]}, {layer.output.bytes}u)",
        ]
