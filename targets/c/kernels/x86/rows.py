"""Rows of the image with their border, in a ring in scratch memory.

A window reads ``span`` rows; each is copied once, widened or shifted as the multiplication wants
it, between columns of the zero point. The rows above and below the image are the zero point too. So
kernels know no border, and read a little beyond a row without leaving the scratch memory.

========= ========================================= =====================
form      an element                                zero point becomes
========= ========================================= =====================
``u8``    ``x + 128`` as a byte (``vpdpbusd``)      ``zero_point + 128``
``s16``   ``x`` as a 16-bit word (``vpmaddwd``)     ``zero_point``
========= ========================================= =====================
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.network import Window

#: Bytes that a kernel may read behind the last element of a row.
SLACK = 64

_U8 = Function(
    "vnni_border_row",
    """\
/* left bytes of fill, count numbers of x as x + 128, right bytes of fill; all fill without x. */
static void vnni_border_row(uint8_t *to, const int8_t *x, size_t left, size_t count, size_t right,
    int fill)
{
    const __m512i flip = _mm512_set1_epi8(-128);
    if (x == NULL) {
        memset(to, fill, left + count + right);
        return;
    }
    memset(to, fill, left);
    to += left;
    for (; count >= 64; count -= 64, x += 64, to += 64) {
        const __m512i bytes = _mm512_loadu_si512((const void *)x);
        _mm512_storeu_si512((void *)to, _mm512_xor_si512(bytes, flip));
    }
    if (count > 0) {
        const __mmask64 rest = ((__mmask64)1 << count) - 1;
        _mm512_mask_storeu_epi8(to, rest,
            _mm512_xor_si512(_mm512_maskz_loadu_epi8(rest, x), flip));
        to += count;
    }
    memset(to, fill, right);
}""",
)

_S16 = Function(
    "avx2_border_row",
    """\
/* left words of fill, count numbers of x as words, right words of fill; all fill without x. */
static void avx2_border_row(int16_t *to, const int8_t *x, size_t left, size_t count, size_t right,
    int fill)
{
    size_t i;
    if (x == NULL) {
        left += count + right;
        count = right = 0;
    }
    for (i = 0; i < left; i++) {
        *to++ = (int16_t)fill;
    }
    for (; count >= 16; count -= 16, x += 16, to += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)x);
        _mm256_storeu_si256((__m256i *)(void *)to, _mm256_cvtepi8_epi16(bytes));
    }
    for (; count > 0; count--) {
        *to++ = *x++;
    }
    for (i = 0; i < right; i++) {
        *to++ = (int16_t)fill;
    }
}""",
)

_WORDS = Function(
    "x86_border_row",
    """\
/* left words of fill, count words of x, right words of fill; all fill without x. */
static void x86_border_row(int16_t *to, const int16_t *x, size_t left, size_t count, size_t right,
    int fill)
{
    size_t i;
    if (x == NULL) {
        left += count + right;
        count = right = 0;
    }
    for (i = 0; i < left; i++) {
        *to++ = (int16_t)fill;
    }
    if (count > 0) {
        memcpy(to, x, count * sizeof *x);
        to += count;
    }
    for (i = 0; i < right; i++) {
        *to++ = (int16_t)fill;
    }
}""",
)


@dataclasses.dataclass(frozen=True)
class Ring:
    """The rows that the windows of one output row read.

    Attributes:
        window: Geometry.
        words: Elements are 16-bit words, not bytes.
        wide: The image has words itself.
        fill: What padding is, in the form of an element.
    """

    window: Window
    words: bool
    wide: bool
    fill: int

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 2 if self.words else 1

    @property
    def span(self) -> int:
        """Rows that a window covers."""
        return (self.window.kernel[0] - 1) * self.window.dilations[0] + 1

    @property
    def columns(self) -> int:
        """Columns that all windows of a row cover, border included."""
        columns = (self.window.result[1] - 1) * self.window.strides[1]
        return columns + (self.window.kernel[1] - 1) * self.window.dilations[1] + 1

    @property
    def pitch(self) -> int:
        """Bytes from one row to the next, a multiple of 64."""
        return -(-self.columns * self.window.image[2] * self.itemsize // 64) * 64

    @property
    def bytes(self) -> int:
        """Scratch memory it takes."""
        return self.span * self.pitch + SLACK

    @property
    def functions(self) -> tuple[Function, ...]:
        """What its code calls."""
        return (_WORDS if self.wide else _S16 if self.words else _U8,)

    def loop(self, body: list[str]) -> list[str]:
        """Statements that run ``body`` for each output ``row``.

        It may use ``rows[]``, the row of the ring that each row of the kernel reads.
        """
        (height, width, channels), strides = self.window.image, self.window.strides
        top, left = self.window.pads
        left = min(left, self.columns)
        inside = min(width, self.columns - left)
        right = self.columns - left - inside
        sizes = [left * channels, inside * channels, right * channels]
        at = f"ring + made % {self.span} * {self.pitch}"
        if self.words:
            at = f"(int16_t *)(void *)({at})"
        first = "row" if strides[0] == 1 else f"row * {strides[0]}"
        step = self.window.dilations[0]
        reached = "r" if step == 1 else f"r * {step}"
        source = (
            f"x0 + (made - {top}) * {width * channels}"
            if top
            else (f"x0 + made * {width * channels}")
        )
        low = f"made >= {top} && " if top else ""
        return [
            "uint8_t *const ring = scratch;",
            "size_t made = 0;",
            f"for (size_t row = 0; row < {self.window.result[0]}; row++) {{",
            f"    const uint8_t *rows[{self.window.kernel[0]}];",
            f"    for (; made < {first} + {self.span}; made++) {{",
            f"        {self.functions[0].name}({at},",
            f"            {low}made < {top + height} ? {source} : NULL,",
            f"            {sizes[0]}, {sizes[1]}, {sizes[2]}, {self.fill});",
            "    }",
            f"    for (size_t r = 0; r < {self.window.kernel[0]}; r++) {{",
            f"        rows[r] = ring + ({first} + {reached}) % {self.span} * {self.pitch};",
            "    }",
            *(f"    {line}" for line in body),
            "}",
        ]
