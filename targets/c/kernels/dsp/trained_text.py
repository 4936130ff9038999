"""The C function of a dense convolution with trained weights, for one kind of sums and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from string import Template

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.literals import c_type

_TWO_PIXELS = Template("""\
            if (column + 1 < g->result_columns) {
                int16_t *const next = window + ((taps + 3) & ~3);
                ${y} *y_next = y + channels;
                const int16_t *w = weights;
                ${window}(g, x, row, column + 1, next);
                for (c = 0; c + 1 < channels; c += 2, w += 2 * taps) {
                    ${sums_of_two}(window, next, w, w + taps, taps, sums);
${first}
${second}
                }
                if (c < channels) {
                    ${sums_of_two}(window, next, w, w, taps, sums);
${first}
                }
                y += 2 * channels;
                column++;
                continue;
            }""")

_CHANNEL = Template("""\
{
    const ${sum} begin = ${begin};
${scale}
    ${sum} acc = begin + sums[${index}];
    y[${channel}] = ${result};
    acc = begin + sums[${index} + 2];
    y_next[${channel}] = ${result};
}""")

_FUNCTION = Template("""\
/* A convolution with weights [channels, taps]; ${pixels}. */
static void ${name}(const int8_t *x, ${y} *y, uint8_t *scratch, const dsp_window *g,
    int32_t rows, int32_t channels, const int16_t *weights, const ${bias} *bias,
    const int32_t *trained, const ${multiplier} *multiplier, const int8_t *shift, int32_t low,
    int32_t high, int32_t zero_point)
{
    int16_t *const window = (int16_t *)(void *)scratch;
    const int32_t taps = g->depth;
    int32_t row, column, c, i;
    ${sum} sums[4];
${scale_of_all}
    (void)trained;
    (void)low;
    (void)high;
    (void)zero_point;
    for (row = 0; row < rows; row++) {
        for (column = 0; column < g->result_columns; column++) {
            ${window}(g, x, row, column, window);
${two}
            for (c = 0; c < channels; c += 4) {
                const int32_t count = channels - c < 4 ? channels - c : 4;
                const int16_t *w[4];
                for (i = 0; i < 4; i++) {
                    w[i] = weights + (i < count ? c + i : c) * taps;
                }
                ${sums_of_one}(window, w, taps, sums);
                for (i = 0; i < count; i++) {
                    const int32_t channel = c + i;
${scale_of_one}
                    const ${sum} acc = ${begin_of_one} + sums[i];
                    y[channel] = ${result};
                }
            }
            y += channels;
        }
    }
}""")


@dataclasses.dataclass(frozen=True, eq=False)
class Ending:
    """How sums become results.

    Attributes:
        name: Part of the names of the C functions that end so.
        functions: What they call.
        expression: C expression of a result of the sum ``acc``, of ``factor``, ``half`` and
            ``places``, and of ``low``, ``high`` and ``zero_point``.
        has_half: Whether ``half`` is read.
        multiplier: Multipliers, one or as many as channels.
        shift: Shifts, likewise.
        limits: Numbers that become ``low``, ``high`` and ``zero_point``.
    """

    name: str
    functions: tuple[Function, ...]
    expression: str
    has_half: bool
    multiplier: Array
    shift: Array
    limits: tuple[int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Inner:
    """The inner loops of a processor.

    Attributes:
        prefix: Of the names of C functions.
        window: Fetches the window of a pixel, see :mod:`.trained_gather`.
        one: The sums of a pixel and four filters, see :mod:`.trained_sums`; the argument is the
            number of products that fit 32 bits where sums need more, else None.
        two: The sums of two pixels and two filters, likewise.
    """

    prefix: str
    window: Function
    one: Callable[[int | None], Function]
    two: Callable[[int | None], Function]


def dense_function(
    inner: Inner,
    end: Ending,
    bias: str,
    y: str,
    *,
    wide: bool,
    both: bool,
    trained: bool,
    most: int,
) -> Function:
    """The C function.

    Args:
        inner: Inner loops.
        end: How sums become results.
        bias: C type of the bias.
        y: C type of the results.
        wide: Sums need 64 bits.
        both: Two pixels at a time; scratch memory holds both.
        trained: There is a trained bias, too.
        most: Products of which a sum fits 32 bits, a multiple of four.
    """
    one_scale = end.multiplier.data.size == 1
    name = "_".join(
        [f"{inner.prefix}_trained", end.name, y.removesuffix("_t")]
        + (["wide", str(most)] if wide else [])
        + (["bias64"] if bias == "int64_t" else [])
        + (["channels"] if not one_scale else [])
        + (["biased"] if trained else [])
        + (["pairs"] if both else [])
    )
    kind = c_type(end.multiplier.data.dtype.name)

    def scale(index: str, indent: int) -> str:
        lines = [
            f"const {kind} factor = multiplier[{index}];",
            f"const int32_t places = shift[{index}];",
        ]
        if end.has_half:
            lines.append("const int32_t half = dsp_half(zero_point, places);")
        return "\n".join(" " * indent + line for line in lines)

    def begin(channel: str) -> str:
        # Two numbers of 32 bits may need 64.
        cast = "(int64_t)" if wide else ""
        return f"{cast}bias[{channel}] + trained[{channel}]" if trained else f"bias[{channel}]"

    one, pair = (sums(most if wide else None) for sums in (inner.one, inner.two))
    words = {
        "name": name,
        "window": inner.window.name,
        "sums_of_one": one.name,
        "sums_of_two": pair.name,
        "sum": "int64_t" if wide else "int32_t",
        "y": y,
        "bias": bias,
        "multiplier": kind,
        "result": end.expression,
        "pixels": "two pixels at a time" if both else "a pixel at a time",
        "scale_of_one": "" if one_scale else scale("channel", 20),
        "scale_of_all": scale("0", 4) if one_scale else "",
        "begin_of_one": begin("channel"),
    }
    two = ""
    if both:
        parts = [
            _CHANNEL.substitute(
                words, begin=begin(channel), channel=channel, index=index,
                scale="" if one_scale else scale(channel, 4),
            )
            for index, channel in enumerate(("c", "c + 1"))
        ]  # fmt: skip
        first, second = ("\n".join(f"{' ' * 20}{r}" for r in p.splitlines()) for p in parts)
        two = _TWO_PIXELS.substitute(words, first=first, second=second)
    text = _FUNCTION.substitute(words, two=two)
    lines = [line for line in text.splitlines() if line.strip()]
    needed = (inner.window, one, *([pair] if both else []), *end.functions)
    return Function(name, "\n".join(lines), needed)
