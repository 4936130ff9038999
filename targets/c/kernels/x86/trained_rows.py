"""Trained layers of few pixels, as fully connected ones are: dot products with weights in place.

Packing weights pays where many pixels use them. For few, a register takes consecutive weights of
one filter, four filters at a time share the inputs, and lanes are added up last.
"""

from __future__ import annotations

import math

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.convolution_patches import is_whole
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI, Isa
from intaglio.targets.c.kernels.x86.trained_ends import INT32_LIMIT, bound_of, products_of
from intaglio.targets.c.kernels.x86.trained_operands import bias_of
from intaglio.targets.c.kernels.x86.trained_ring import CENTERED
from intaglio.targets.c.kernels.x86.trained_tiles import multiplied
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import TrainedConvolution

#: Filters that share the inputs.
_FILTERS = 4
#: Products of a filter for each pixel that make packing slower.
_SHARE = 16


def few_pixels(layer: TrainedConvolution, variant: str) -> Implementation | None:
    """A layer of few pixels whose windows lie one behind the other in memory; else None."""
    window, shape = layer.window, layer.weights_shape
    pixels, size = window.result[0] * window.result[1], math.prod(shape[1:])
    if not is_whole(window, layer.groups) or pixels > max(1, size // _SHARE):
        return None
    isa = AVX2 if variant == "avx2" else VNNI
    wide = bool((bound_of(layer) >= INT32_LIMIT).any())
    kind, y = "int64_t" if wide else "int32_t", c_type(layer.output.dtype)
    stage = output_stage(layer.rescale, y, wide=wide)
    rows, columns, channels = window.image
    image = rows * columns * channels
    # Whole registers of words may be read.
    at = -(-2 * (image + 32) // 64) * 64
    count = shape[0]
    sums = -(-count * (8 if wide else 4) // 64) * 64
    bias = bias_of(layer, count, wide, at + sums)
    function = _dots(isa, wide, products_of(layer) // 2)
    down = window.strides[0] * columns * channels
    across = window.strides[1] * channels
    body = [
        "int16_t *const words = (int16_t *)(void *)scratch;",
        f"{kind} *const sums = ({kind} *)(void *)(scratch + {at});",
        *bias.statements,
        stage.declaration,
        f"{CENTERED.name}(words, x0, 0, {image}, 32, {layer.inputs[0].zero_point});",
        f"for (size_t p = 0; p < {pixels}; p++) {{",
        f"    const size_t row = p / {window.result[1]}, column = p % {window.result[1]};",
        f"    const int16_t *const seen = words + row * {down} + column * {across};",
        f"    memcpy(sums, {bias.pointer}, {count} * sizeof *sums);",
        f"    {function.name}(seen, x1, {count}, {size}, sums);",
        f"    {stage.finish.name}(sums, {count}, &stage, 0, y + p * {count});",
        "}",
    ]
    return Implementation(
        "\n".join(body),
        (CENTERED, function, stage.finish, *bias.functions),
        (bias.array, *stage.arrays),
        at + sums + bias.scratch,
    )


def _dots(isa: Isa, wide: bool, most: int) -> Function:
    """``f(x, w, rows, count, sums)``: adds the dot product of each row of ``w`` to its sum."""
    name = f"{isa.name}_trained_dots{f'_wide_{most}' if wide else ''}"
    lines = [
        "/* Adds the products of count words of x and each row of weights to its sum. Whole",
        "   registers of x are read. */",
        f"static void {name}(const int16_t *x, const int16_t *w, size_t rows, size_t count,",
        f"    {'int64_t' if wide else 'int32_t'} *sums)",
        "{",
        "    while (rows > 0) {",
        f"        if (rows >= {_FILTERS}) {{",
        *(f"            {line}" for line in _some(isa, wide, most, _FILTERS)),
        "        } else {",
        *(f"            {line}" for line in _some(isa, wide, most, 1)),
        "        }",
        "    }",
        "}",
    ]
    return Function(name, "\n".join(lines), (_load_some(isa), isa.load, _total(isa, wide)))


def _some(isa: Isa, wide: bool, most: int, rows: int) -> list[str]:
    words, zero = 2 * isa.lanes, isa.op(f"setzero_si{isa.bits}")
    names = [f"a{row}" for row in range(rows)]
    step = [f"const {isa.type} values = {isa.load.name}(x + k);"]
    last = list(step)
    for row, name in enumerate(names):
        at = "w + k" if row == 0 else f"w + ({row} * count + k)"
        step.append(multiplied(isa, name, "values", f"{isa.load.name}({at})"))
        last.append(multiplied(isa, name, "values", f"{_load_some(isa).name}({at}, count - k)"))
    lines = ["size_t k = 0;", f"{isa.type} {', '.join(f'{name} = {zero}' for name in names)};"]
    total = [f"sums[{row}] += {_total(isa, wide).name}({name});" for row, name in enumerate(names)]
    loop = [f"for (; k + {words} <= count; k += {words}) {{", *(f"    {s}" for s in step), "}"]
    if wide:
        # Each lane takes so many pairs.
        part = most * words
        loop = [
            f"while (k + {words} <= count) {{",
            f"    const size_t end = count - k < {part} ? count : k + {part};",
            f"    for (; k + {words} <= end; k += {words}) {{",
            *(f"        {s}" for s in step),
            "    }",
            *(f"    {line}" for line in total),
            f"    {' = '.join(names)} = {zero};",
            "}",
        ]
    return [
        *lines,
        *loop,
        "if (k < count) {",
        *(f"    {line}" for line in last),
        "}",
        *total,
        f"w += {rows} * count;",
        f"sums += {rows};",
        f"rows -= {rows};",
    ]


def _load_some(isa: Isa) -> Function:
    name = f"{isa.name}_load_words"
    if isa.masks:
        return Function(
            name,
            f"""\
/* count words, fewer than a register has; 0 behind them. */
static inline {isa.type} {name}(const int16_t *from, size_t count)
{{
    return _mm512_maskz_loadu_epi16((__mmask32)((1u << count) - 1u), from);
}}""",
        )
    return Function(
        name,
        f"""\
/* count words, fewer than a register has; 0 behind them. */
static inline {isa.type} {name}(const int16_t *from, size_t count)
{{
    int16_t words[16] = {{0}};
    memcpy(words, from, count * sizeof *words);
    return _mm256_loadu_si256((const __m256i *)(const void *)words);
}}""",
    )


def _total(isa: Isa, wide: bool) -> Function:
    name = f"{isa.name}_total{'_wide' if wide else ''}"
    kind = "int64_t" if wide else "int32_t"
    lines = ["/* The sum of int32 lanes. */", f"static inline {kind} {name}({isa.type} lanes)", "{"]
    if isa.bits == 512:
        upper = "_mm512_extracti64x4_epi64(lanes, 1)"
        if wide:
            pair = (
                "_mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(lanes)),\n"
                f"        _mm512_cvtepi32_epi64({upper}))"
            )
            lines.append(f"    return _mm512_reduce_add_epi64({pair});")
        else:
            lines.append("    return _mm512_reduce_add_epi32(lanes);")
    elif wide:
        lines += [
            "    int64_t parts[4];",
            "    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));",
            "    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1));",
            "    _mm256_storeu_si256((__m256i *)(void *)parts, _mm256_add_epi64(low, high));",
            "    return (parts[0] + parts[1]) + (parts[2] + parts[3]);",
        ]
    else:
        lines += [
            "    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes),",
            "        _mm256_extracti128_si256(lanes, 1));",
            "    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));",
            "    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));",
            "    return _mm_cvtsi128_si32(sum);",
        ]
    return Function(name, "\n".join([*lines, "}"]))
