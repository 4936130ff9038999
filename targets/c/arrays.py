"""The constant arrays of a model: collected from the kernels, named, and written once each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from intaglio.targets.c.kernels.base import Array
from intaglio.targets.c.literals import c_type, rows
from intaglio.targets.c.naming import Names, comment_text, identifier


@dataclasses.dataclass
class Stored:
    """An array of the weights file.

    Attributes:
        name: Its name in C.
        array: Its numbers.
        variants: The processors whose kernels read it.
        layer: Name of the first layer that reads it.
    """

    name: str
    array: Array
    variants: set[str]
    layer: str

    def declaration(self) -> str:
        """The array as C declares it, without a semicolon."""
        data = self.array.data
        return f"const {c_type(data.dtype.name)} {self.name}[{max(1, data.size)}]"


class ArrayStore:
    """Every array of a model.

    Args:
        prefix: What their names begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names = Names()
        self._stored: dict[tuple[str, bytes], Stored] = {}

    def add(self, layer: str, arrays: Iterable[Array], variant: str) -> Mapping[str, str]:
        """Takes the arrays of a layer.

        Args:
            layer: Its name.
            arrays: Them.
            variant: The processor whose kernel reads them.

        Returns:
            Name in C of each array, by the kernel's name for it.
        """
        found = {}
        for array in arrays:
            data = np.ascontiguousarray(array.data)
            key = (data.dtype.name, data.tobytes())
            if key not in self._stored:
                name = self._names.take(f"{self._prefix}__{identifier(layer)}_{array.name}")
                self._stored[key] = Stored(name, Array(array.name, data), set(), layer)
            self._stored[key].variants.add(variant)
            found[array.name] = self._stored[key].name
        return found

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._stored.values())

    def bytes(self, variant: str) -> int:
        """Bytes of the arrays that a processor's kernels read."""
        return sum(s.array.data.nbytes for s in self._stored.values() if variant in s.variants)


def definition(stored: Stored) -> str:
    """The array with its numbers; declared first, since C++ gives constants no linkage."""
    declared = stored.declaration()
    return (
        f"/* {comment_text(stored.layer)}: {stored.array.name} */\n"
        f"extern {declared};\nALIGNED {declared} = {{\n{rows(stored.array.data)}\n}};\n"
    )
