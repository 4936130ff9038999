"""How a register tile ends: accumulators to results, and results to memory.

A tile has ``acc<pixel>_<vector>`` of four channels each, and in C ``product``, ``tail`` (biases,
multipliers and shifts of its channels), ``count`` (channels that are left) and ``y``.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.neon.each import Stage
from intaglio.targets.c.kernels.neon.memory import STORE
from intaglio.targets.c.kernels.neon.tails import NARROW8, NARROW8_TWICE, NARROW16, Tail

PRODUCT = Function(
    "neon_product",
    """\
/* The constants of a convolution, in the order in which they are used. */
struct neon_product {
    const int8_t *weights;  /* [blocks of channels][runs of the window][steps of a run][a step] */
    const int32_t *tail;    /* [blocks of channels]: biases, multipliers, shifts */
    size_t channels;        /* of the output */
    size_t runs, length;    /* of a window; length counts inputs, weights of 0 included */
    size_t step;            /* inputs from one pixel's window to the next one's */
    int32_t zero_point, low, high;
};""",
)


def end_functions(tail: Tail, vectors: int, wide: bool) -> tuple[Function, ...]:
    """What the end of a tile calls, and the struct of its constants."""
    if tail.stage is not None:
        return (PRODUCT, *tail.functions)
    narrow = NARROW16 if wide else NARROW8 if vectors <= 2 else NARROW8_TWICE
    return (PRODUCT, STORE, *tail.functions, narrow)


def parameters(tail: Tail, kind: str) -> str:
    """The last parameters of a tile's function; ``kind`` is the C type of a result."""
    stage = "" if tail.stage is None else f"const struct {tail.stage.struct} *stage, "
    return f"const struct neon_product *product, {stage}{kind} *y"


def limits(
    wide: bool,
    numbers: tuple[object, object, object] = (
        "product->zero_point",
        "product->low",
        "product->high",
    ),
) -> list[str]:
    """Statements that make registers of the zero point and of the clamp.

    Args:
        wide: Results are int16.
        numbers: Zero point, smallest and largest result as C text.
    """
    zero, low, high = numbers
    if wide:
        return [
            f"const int32x4_t zero_point = vdupq_n_s32({zero});",
            f"const int16x4_t low = vdup_n_s16((int16_t){low});",
            f"const int16x4_t high = vdup_n_s16((int16_t){high});",
        ]
    return [
        f"const int16x8_t zero_point = vdupq_n_s16((int16_t){zero});",
        f"const int8x16_t low = vdupq_n_s8((int8_t){low});",
        f"const int8x16_t high = vdupq_n_s8((int8_t){high});",
    ]


def end_of_tile(tail: Tail, pixels: int, vectors: int, wide: bool) -> list[str]:
    """Statements that rescale, narrow and store all accumulators, and move ``y`` on."""
    if tail.stage is not None:
        return _each(tail.stage, pixels, vectors, "int16_t" if wide else "int8_t")
    lines = []
    for v in range(vectors):
        lines += [
            f"const int32x4_t multiplier{v} = vld1q_s32(tail + {4 * vectors + 4 * v});",
            f"const int32x4_t shift{v} = vld1q_s32(tail + {8 * vectors + 4 * v});",
        ]
    for p in range(pixels):
        lines += [
            f"acc{p}_{v} = {tail.function.name}(acc{p}_{v}, multiplier{v}, shift{v});"
            for v in range(vectors)
        ]
    lines += _words(pixels, vectors) if wide else _bytes(pixels, vectors)
    return "\n".join(lines).split("\n")


def _each(stage: Stage, pixels: int, vectors: int, kind: str) -> list[str]:
    """The end where each result is computed for itself."""
    size = 4 * vectors
    lines = [f"int32_t sums[{pixels * size}];"]
    lines += [
        f"vst1q_s32(sums + {p * size + 4 * v}, acc{p}_{v});"
        for p in range(pixels)
        for v in range(vectors)
    ]
    inner = [
        "y[p * product->channels + c] =",
        f"    ({kind}){stage.finish.name}(sums[p * {size} + c], stage, first + c);",
    ]
    loop = block(f"for (size_t c = 0; c < {size} && c < count; c++)", inner)
    return [*lines, *block(f"for (size_t p = 0; p < {pixels}; p++)", loop), f"y += {size};"]


def block(head: str, body: list[str]) -> list[str]:
    """``head { body }`` as lines."""
    return [f"{head} {{", *(f"    {line}" for line in body), "}"]


def _bytes(pixels: int, vectors: int) -> list[str]:
    lines, full, rest = [], [], []
    for p in range(pixels):
        value = f"result{p}"
        names = [f"acc{p}_{min(v, vectors - 1)}" for v in range(2 if vectors <= 2 else 4)]
        narrowed = f"({', '.join(names)}, zero_point, low, high)"
        if vectors <= 2:
            lines.append(f"const int8x8_t half{p} = neon_narrow8{narrowed};")
            lines.append(f"const int8x16_t {value} = vcombine_s8(half{p}, half{p});")
        else:
            lines.append(f"const int8x16_t {value} =\n    neon_narrow8_twice{narrowed};")
        if vectors == 4:
            full.append(f"vst1q_s8({_row(p)}, {value});")
        elif vectors == 2:
            full.append(f"vst1_s8({_row(p)}, vget_low_s8({value}));")
        else:
            full.append(f"neon_store({_row(p)}, {value}, {4 * vectors});")
        rest.append(f"neon_store({_row(p)}, {value}, count);")
    return [*lines, *_stored(vectors, full, rest)]


def _words(pixels: int, vectors: int) -> list[str]:
    lines, full, rest = [], [], []
    for pair in range(vectors // 2):
        at = 8 * pair
        less = []
        for p in range(pixels):
            value, row = f"result{p}_{pair}", f"{_row(p)} + {at}" if pair else _row(p)
            a, b = (
                f"neon_narrow16(acc{p}_{2 * pair + half}, zero_point, low, high)"
                for half in range(2)
            )
            lines.append(f"const int16x8_t {value} = vcombine_s16(")
            lines += [f"    {a},", f"    {b});"]
            full.append(f"vst1q_s16({row}, {value});")
            less.append(f"neon_store({row}, vreinterpretq_s8_s16({value}), 2 * some);")
        some = f"const size_t some = count - {at} < 8 ? count - {at} : 8;"
        if not pair:
            some = "const size_t some = count < 8 ? count : 8;"
        rest += block(f"if (count > {at})", [some, *less])
    return [*lines, *_stored(vectors, full, rest)]


def _stored(vectors: int, full: list[str], rest: list[str]) -> list[str]:
    """Statements for blocks of all channels of a tile, and for what is left of them."""
    head = block(f"if (count >= {4 * vectors})", full)[:-1]
    return [*head, *block("} else", rest), f"y += {4 * vectors};"]


def _row(pixel: int) -> str:
    return "y" if pixel == 0 else f"y + {pixel} * product->channels"
