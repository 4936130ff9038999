"""Rows of the image that a window reads: where they lie, or copies with their border.

Kernels know no border. Where windows reach over the edge of the image, or where a kernel reads a
little more than a window's elements, rows are copied once each into a ring in scratch memory,
between columns of the zero point; rows above and below the image are the zero point too.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.portable.window import is_padded
from intaglio.targets.c.network import Window

#: Bytes that a kernel may read behind the last element that a window of the row needs.
SLACK = 32

_BORDER8 = Function(
    "neon_border_row8",
    """\
/* left bytes of fill, count bytes of x, right bytes of fill; fill alone without x. */
static void neon_border_row8(
    int8_t *to, const int8_t *x, size_t left, size_t count, size_t right, int fill)
{
    if (x == NULL) {
        memset(to, fill, left + count + right);
        return;
    }
    memset(to, fill, left);
    memcpy(to + left, x, count);
    memset(to + left + count, fill, right);
}""",
)

_BORDER16 = Function(
    "neon_border_row16",
    """\
/* left words of fill, count words of x, right words of fill; fill alone without x. */
static void neon_border_row16(
    int16_t *to, const int16_t *x, size_t left, size_t count, size_t right, int fill)
{
    size_t i;
    if (x == NULL) {
        left += count + right;
        count = right = 0;
    }
    for (i = 0; i < left; i++) {
        to[i] = (int16_t)fill;
    }
    if (count > 0) {
        memcpy(to + left, x, count * sizeof *x);
    }
    for (i = left + count; i < left + count + right; i++) {
        to[i] = (int16_t)fill;
    }
}""",
)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of the image that the windows of an output row read.

    Attributes:
        window: Geometry.
        itemsize: Bytes of an element.
        fill: What padding is.
        exact: The kernel reads nothing but the elements of a window.
    """

    window: Window
    itemsize: int
    fill: int
    exact: bool

    @property
    def direct(self) -> bool:
        """Whether kernels may read the image where it lies."""
        return self.exact and not is_padded(self.window)

    @property
    def bytes(self) -> int:
        """Scratch memory it takes."""
        return 0 if self.direct else self._span * self._pitch + SLACK

    @property
    def functions(self) -> tuple[Function, ...]:
        """What its code calls."""
        return () if self.direct else (_BORDER8 if self.itemsize == 1 else _BORDER16,)

    def loop(self, body: list[str]) -> list[str]:
        """Statements that run ``body`` for each output ``row``.

        ``body`` may use ``rows``, a pointer to the first element that the row's first window reads
        in each row of the kernel.
        """
        return self._direct(body) if self.direct else self._copied(body)

    @property
    def _span(self) -> int:
        return (self.window.kernel[0] - 1) * self.window.dilations[0] + 1

    @property
    def _columns(self) -> int:
        columns = (self.window.result[1] - 1) * self.window.strides[1]
        return columns + (self.window.kernel[1] - 1) * self.window.dilations[1] + 1

    @property
    def _pitch(self) -> int:
        return -(-self._columns * self.window.image[2] * self.itemsize // 16) * 16

    @property
    def _type(self) -> str:
        return "int8_t" if self.itemsize == 1 else "int16_t"

    def _direct(self, body: list[str]) -> list[str]:
        line = self.window.image[1] * self.window.image[2]
        taken = _sum(_times("row", self.window.strides[0]), _times("r", self.window.dilations[0]))
        return [
            f"for (size_t row = 0; row < {self.window.result[0]}; row++) {{",
            f"    const {self._type} *rows[{self.window.kernel[0]}];",
            f"    for (size_t r = 0; r < {self.window.kernel[0]}; r++) {{",
            f"        rows[r] = x0 + ({taken}) * {line};",
            "    }",
            *(f"    {text}" for text in body),
            "}",
        ]

    def _copied(self, body: list[str]) -> list[str]:
        (height, width, channels), (top, left) = self.window.image, self.window.pads
        left = min(left, self._columns)
        inside = min(width, self._columns - left)
        right = self._columns - left - inside
        sizes = ", ".join(str(count * channels) for count in (left, inside, right))
        first = _times("row", self.window.strides[0])
        taken = _sum(first, _times("r", self.window.dilations[0]))
        source = f"x0 + made * {width * channels}"
        inside_rows = f"made < {top + height}"
        if top:
            source = f"x0 + (made - {top}) * {width * channels}"
            inside_rows = f"made >= {top} && {inside_rows}"
        place = f"ring + {{}} % {self._span} * {self._pitch // self.itemsize}"
        return [
            "/* A ring of rows of the image with their border. */",
            f"{self._type} *const ring = ({self._type} *)(void *)scratch;",
            "size_t made = 0;",
            f"for (size_t row = 0; row < {self.window.result[0]}; row++) {{",
            f"    const {self._type} *rows[{self.window.kernel[0]}];",
            f"    for (; made < {_sum(first, str(self._span))}; made++) {{",
            f"        {self.functions[0].name}({place.format('made')},",
            f"            {inside_rows} ? {source} : NULL, {sizes}, {self.fill});",
            "    }",
            f"    for (size_t r = 0; r < {self.window.kernel[0]}; r++) {{",
            f"        rows[r] = {place.format(f'({taken})')};",
            "    }",
            *(f"    {text}" for text in body),
            "}",
        ]


def _times(name: str, factor: int) -> str:
    return name if factor == 1 else f"{name} * {factor}"


def _sum(first: str, second: str) -> str:
    return f"{first} + {second}"
