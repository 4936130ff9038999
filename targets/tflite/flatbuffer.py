"""Reading flatbuffers that may be damaged or hostile: every access is checked and paid for.

The generated classes trust the file: a vector may claim four billion elements, tables may be
shared so that a small file unpacks to a huge tree. Here each offset must stay inside of the file,
and what is read in all may not exceed a small multiple of its size.

Layout of a flatbuffer: https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError

#: Bytes 4 to 8 of every TFLite file.
IDENTIFIER = b"TFL3"
#: Tables a file may have (a large language model has a few thousand).
MAX_TABLES = 200_000

_U16, _U32, _I32 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i")
_SCALARS = {name: struct.Struct(f"<{name}") for name in "?bBhHiIqQfd"}


class Flatbuffer:
    """The bytes of a file and the budget for reading them.

    Args:
        data: The whole file.
        path: Its name, for messages.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self.data = data
        self.path = path
        self._tables_left = MAX_TABLES
        # Legitimate files share little: strings and vectors that are equal.
        self._bytes_left = 8 * len(data) + (1 << 20)

    def root(self) -> Table:
        """The root table.

        Raises:
            InputError: The file is too short or its root lies outside of it.
        """
        return Table(self, self.u32(0))

    def damaged(self, what: str) -> InputError:
        """An error about this file."""
        return InputError(
            f"{self.path} is a damaged TFLite file: {what}", remedy="export or copy the model again"
        )

    def u16(self, position: int) -> int:
        """The uint16 at ``position``."""
        self.need(position, 2)
        return int(_U16.unpack_from(self.data, position)[0])

    def u32(self, position: int) -> int:
        """The uint32 at ``position``."""
        self.need(position, 4)
        return int(_U32.unpack_from(self.data, position)[0])

    def i32(self, position: int) -> int:
        """The int32 at ``position``."""
        self.need(position, 4)
        return int(_I32.unpack_from(self.data, position)[0])

    def need(self, position: int, count: int) -> None:
        """Checks that ``count`` bytes at ``position`` are inside of the file.

        Raises:
            InputError: They are not.
        """
        if position < 0 or count < 0 or position + count > len(self.data):
            raise self.damaged(f"it points to byte {position}, and has {len(self.data)}")

    def pay(self, count: int, *, tables: int = 0) -> None:
        """Takes ``count`` bytes and ``tables`` tables off the budget.

        Raises:
            InputError: The budget is spent.
        """
        self._bytes_left -= count
        self._tables_left -= tables
        if self._bytes_left < 0 or self._tables_left < 0:
            raise self.damaged("it unpacks to far more than its size")


class Table:
    """One table of a flatbuffer; fields are asked for by their slot in the schema.

    Args:
        file: The file.
        position: Where the table begins.

    Raises:
        InputError: The table or its vtable is not inside of the file.
    """

    def __init__(self, file: Flatbuffer, position: int) -> None:
        self.file = file
        self.position = position
        file.pay(0, tables=1)
        self._vtable = position - file.i32(position)
        self._slots = file.u16(self._vtable)
        self._size = file.u16(self._vtable + 2)
        if self._slots < 4 or self._slots % 2 or self._size < 4:
            raise file.damaged(f"there is no table at byte {position}")
        file.need(self._vtable, self._slots)
        file.need(position, self._size)

    def check_fields(self) -> None:
        """Checks that every field begins inside of the table, for readers that do not.

        Raises:
            InputError: One does not.
        """
        for slot in range((self._slots - 4) // 2):
            self._field(slot, 1)

    def scalar(self, slot: int, kind: str, default: Any = 0) -> Any:
        """A number.

        Args:
            slot: Index of the field.
            kind: Its type as in :mod:`struct`.
            default: The value where the table has none.
        """
        packer = _SCALARS[kind]
        position = self._field(slot, packer.size)
        return default if position is None else packer.unpack_from(self.file.data, position)[0]

    def table(self, slot: int) -> Table | None:
        """A table, or None."""
        position = self._indirect(slot)
        return None if position is None else Table(self.file, position)

    def tables(self, slot: int) -> list[Table]:
        """A vector of tables; none where the field is left out."""
        start, count = self._vector(slot, 4)
        return [
            Table(self.file, start + 4 * i + self.file.u32(start + 4 * i)) for i in range(count)
        ]

    def array(self, slot: int, dtype: str) -> NDArray[Any] | None:
        """A vector of numbers (a view on the file), or None."""
        kind = np.dtype(dtype).newbyteorder("<")
        if self._field(slot, 4) is None:
            return None
        start, count = self._vector(slot, kind.itemsize)
        return np.frombuffer(self.file.data, kind, count, start)

    def integers(self, slot: int) -> tuple[int, ...] | None:
        """A vector of int32 as Python numbers, or None."""
        found = self.array(slot, "int32")
        return None if found is None else tuple(found.tolist())

    def text(self, slot: int) -> str:
        """A string, empty where the field is left out.

        Raises:
            InputError: It is no UTF-8.
        """
        start, count = self._vector(slot, 1)
        try:
            return self.file.data[start : start + count].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.file.damaged("it holds names that are not text") from error

    def blob(self, slot: int) -> memoryview:
        """A vector of bytes (a view on the file), empty where the field is left out."""
        start, count = self._vector(slot, 1, free=True)
        return memoryview(self.file.data)[start : start + count]

    def _field(self, slot: int, size: int) -> int | None:
        entry = 4 + 2 * slot
        if entry >= self._slots:
            return None
        offset = self.file.u16(self._vtable + entry)
        if offset == 0:
            return None
        if offset + size > self._size:
            raise self.file.damaged(f"the table at byte {self.position} has a field outside of it")
        return self.position + offset

    def _indirect(self, slot: int) -> int | None:
        position = self._field(slot, 4)
        return None if position is None else position + self.file.u32(position)

    def _vector(self, slot: int, size: int, *, free: bool = False) -> tuple[int, int]:
        position = self._indirect(slot)
        if position is None:
            return 0, 0
        count = self.file.u32(position)
        self.file.need(position + 4, count * size)
        self.file.pay(0 if free else count * size)
        return position + 4, count
