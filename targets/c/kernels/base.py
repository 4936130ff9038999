"""What a kernel module gives to the emitter.

``implement(layer, variant, budget)`` of a module returns the code of one layer on one kind of
processor, or None where the module has nothing special for it and the next variant of the lineage
is asked. The portable variant never returns None.

Code may use, by name:

* ``x0``, ``x1``, …: const pointers to the inputs (constant operands included), typed;
* ``y``: pointer to the output, typed;
* ``scratch``: ``uint8_t *``, aligned to 16 bytes, of the size that the implementation asks for.

Inputs and outputs of the whole network lie in the caller's memory at any address; other tensors
are aligned to 16 bytes. Nothing may be read or written outside the tensors. No float, no heap, no
library but ``<string.h>``; no construct that C99 or C++11 leaves undefined (shifts of negative
numbers to the left, signed overflow, unaligned access through a wider pointer type).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from intaglio.targets.c.network import Layer


@dataclasses.dataclass(frozen=True)
class Function:
    """A static function, or several, that layers share; written once, before its first user.

    Attributes:
        name: Its name, unique for its text: shape or variant belong into it.
        text: The C text, without a trailing newline.
        needs: Functions that must stand before it.
    """

    name: str
    text: str
    needs: tuple[Function, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Array:
    """A constant array of the weights file, aligned to 16 bytes (``ALIGNED``; x86: to 64).

    Attributes:
        name: Written ``@name@`` in the code; the emitter puts a name there that is unique in
            the file. Arrays of equal contents are stored once.
        data: int8, uint8, int16, uint16, int32, uint32, int64 or uint64; written flat.
    """

    name: str
    data: NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Implementation:
    """Code of one layer.

    Attributes:
        call: Statements of the layer's function. Arrays are named ``@name@`` in it.
        functions: What they call.
        arrays: Constants they read.
        scratch: Bytes of scratch memory.
        in_place: Inputs whose memory the output may take: same first byte, same size or smaller.
    """

    call: str
    functions: tuple[Function, ...] = ()
    arrays: tuple[Array, ...] = ()
    scratch: int = 0
    in_place: tuple[int, ...] = ()


#: ``implement(layer, variant, budget)`` by layer class. A folder that serves two variants
#: is told which; ``budget`` is how many bytes of scratch memory cost nothing: more may raise the
#: arena, and a kernel asks for more only where it cannot do with less.
Kernels = dict[type[Layer], Callable[[Any, str, int], "Implementation | None"]]
