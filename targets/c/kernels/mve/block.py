"""The block: four pixels by two channels of a matrix product, and every channel of its pixels.

Eight sums in eight registers; a vector of 16 products is one ``VMLADAVA``. For each 16 elements of
four pixels and two channels that is 4 loads of pixels, 2 of weights and 8 multiply-accumulates, so
14 instructions for 128 products. The first 16 elements of a pixel are not loaded again for other
channels; where windows overlap, pixels that are loaded are used again. The sums of a channel then
lie side by side, so bias, multiplier and shift are scalars, and eight results go to memory with one
scattering store.

What a block reads besides the pixels is one stream: for each pair of channels its weights, in the
order of use, then bias, multiplier and shift of both.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.assembly import RESTORE, SAVE, assembly, clobbers
from intaglio.targets.c.kernels.mve.job import JOB, PIXELS
from intaglio.targets.c.kernels.mve.rows import Rows
from intaglio.targets.c.kernels.mve.scaling import Scaling, narrowing, rescaling

_SUMS = (("r0", "r2", "r4", "r6"), ("r8", "r10", "r12", "lr"))
_POINTERS = ("r1", "r3", "r5", "r7")
_UNROLLED = 8
#: Half a vector of int8 as one of int16: load, bytes, type of the products.
_HALF = ("vldrb.s16", 8, "s16")
#: The next weights of both channels.
_WEIGHTS = ("vldrw.u32 q4, [r9], #16", "vldrw.u32 q5, [r9], #16")


def rows_block(geometry: Rows, scale: Scaling) -> Function:
    """The block of pixels that lie in rows."""
    slices = geometry.channels // 16
    body = []
    for row in range(geometry.rows):
        body += _row(geometry, row, first=slices == 1 and row == 0, advance=slices > 1)
    if slices > 1:
        body = _loop(body, slices)
    name = f"{geometry.rows}x{geometry.taps}x{geometry.channels}_by_{geometry.stride}"
    title = f"{geometry.rows} x {geometry.taps} columns of {geometry.channels} channels"
    return _function(f"mve_rows_{name}_{scale.name}", title, body, scale, slices > 1)


def pixels_block(size: int, scale: Scaling, pixels: int = PIXELS) -> Function:
    """The block of four pixels of ``size`` bytes each, at any address; or of fewer."""
    vectors, rest = divmod(size, 16)
    if pixels == PIXELS and (size == 8 or (vectors and rest in (0, 8))):
        return _keeping_block(size, scale)
    looped = vectors > _UNROLLED
    body: list[str] = []
    if looped:
        body = _loop([line for _ in range(4) for line in _vector(pixels, False)], vectors // 4)
    for vector in range(vectors % 4 if looped else vectors):
        body += _vector(pixels, vector == 0 and not looped)
    if rest == 8:
        body += _vector(pixels, vectors == 0, *_HALF)
    elif rest:
        body += [f"mov r11, #{rest}", "vctp.8 r11"]
        body += _vector(pixels, vectors == 0, predicated=True)
    name = f"mve_pixels_{size}_{scale.name}"
    if pixels < PIXELS:
        name = f"mve_{pixels}_of_{name[4:]}"
    return _function(name, f"{size} bytes", body, scale, looped, pixels)


def _keeping_block(size: int, scale: Scaling) -> Function:
    """Four pixels whose first vectors stay in registers for all channels."""
    vectors, rest = divmod(size, 16)
    load, _, kind = _HALF if vectors == 0 else ("vldrb.u8", 16, "s8")
    once = [f"{load} q{i}, [{pointer}]" for i, pointer in enumerate(_POINTERS)]
    body = [*_WEIGHTS, *_multiply(True, (0, 1, 2, 3), kind)]
    left = vectors - 1
    if left >= _UNROLLED:
        body += [f"mov r11, #{left // 4}", "3:", *(4 * _passing("vldrb.u8", "s8"))]
        body += ["subs r11, r11, #1", "bne 3b"]
        left %= 4
    body += max(0, left) * _passing("vldrb.u8", "s8")
    if rest and vectors:
        body += _passing(_HALF[0], _HALF[2])
    name = f"mve_pixels_{size}_{scale.name}"
    return _function(name, f"{size} bytes", body, scale, False, PIXELS, once)


def _passing(load: str, kind: str) -> list[str]:
    """The next vector of each of four pixels through one register."""
    lines = [*_WEIGHTS]
    for i, pointer in enumerate(_POINTERS):
        lines.append(f"{load} q7, [{pointer}, #16]!")
        lines += [f"vmladava.{kind} {_SUMS[channel][i]}, q7, q{4 + channel}" for channel in (0, 1)]
    return lines


def _multiply(first: bool, registers: tuple[int, ...], kind: str = "s8") -> list[str]:
    operation = "vmladav" if first else "vmladava"
    return [
        f"{operation}.{kind} {total}, q{q}, q{4 + channel}"
        for channel in range(2)
        for total, q in zip(_SUMS[channel], registers, strict=False)
    ]


def _vector(
    pixels: int,
    first: bool,
    load: str = "vldrb.u8",
    step: int = 16,
    kind: str = "s8",
    predicated: bool = False,
) -> list[str]:
    """One vector of each of some pixels and two channels."""
    pixel = load.replace("vldrb", "vldrbt") if predicated else load
    return [
        *([f"vps{'t' * pixels} // no byte beyond the pixel"] if predicated else []),
        *(f"{pixel} q{i}, [{_POINTERS[i]}], #{step}" for i in range(pixels)),
        *_WEIGHTS,
        *_multiply(first, tuple(range(pixels)), kind),
    ]


def _row(geometry: Rows, row: int, first: bool, advance: bool) -> list[str]:
    """One row of the window, 16 channels; moves the row's pointer on by 16 where it is to."""
    order = geometry.order
    loads = geometry.loads(order)
    pointer = _POINTERS[row]
    lines = []
    moved = 0
    held: dict[int, int] = {}
    for place, tap in enumerate(order):
        # Column 0, where the pointer moves, comes last among the loads of its tap.
        for _, column, q in sorted((load for load in loads if load[0] == tap), key=lambda v: -v[1]):
            held = {c: other for c, other in held.items() if other != q} | {column: q}
            if column == 0 and advance:
                lines.append(f"vldrw.u32 q{q}, [{pointer}], #16")
                moved = 16
            else:
                offset = column * geometry.channels - moved
                lines.append(f"vldrw.u32 q{q}, [{pointer}, #{offset}]")
        lines += _WEIGHTS
        registers = tuple(held[pixel * geometry.stride + tap] for pixel in range(PIXELS))
        lines += _multiply(first and place == 0, registers)
    return lines


def _loop(body: list[str], count: int) -> list[str]:
    """``body`` several times, with sums that begin at 0."""
    return [
        "add r11, sp, #68",
        "ldm r11, {r0, r2, r4, r6, r8, r10, r12, lr} // zeros",
        f"mov r11, #{count}",
        "3:",
        *body,
        "subs r11, r11, #1",
        "bne 3b",
    ]


def _finish(scale: Scaling, pixels: int, kept: bool) -> list[str]:
    """From eight sums to eight results in memory; q0 to q3 are ``kept`` or free."""
    first = 4 if kept else 0
    lines = []
    for channel, sums in enumerate(_SUMS):
        q = first + channel
        lines.append(f"vmov q{q}[2], q{q}[0], {sums[0]}, {sums[2]}")
        if pixels > 1:
            lines.append(f"vmov q{q}[3], q{q}[1], {sums[1]}, {sums[3]}")
    free = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
    results: list[int] = []
    if scale.words == 3:
        lines.append(f"ldm r9!, {{{', '.join(free[:6])}}} // bias, multiplier, shift: twice")
    for channel in range(2):
        names = free[3 * channel : 3 * channel + 3] if scale.words == 3 else free[: scale.words]
        if scale.words != 3:
            lines.append(f"ldm r9!, {{{', '.join(names)}}} // bias, multiplier, shifts")
        # With the pixels kept, the first channel takes q7, and leaves its own to the second.
        spare = 2 + channel if not kept else 7 if channel == 0 else 4
        code, result = rescaling(scale, first + channel, spare, names)
        lines += code
        results.append(result)
    out = results[0]
    other = min({4, 5} - {out})
    return [
        *lines,
        f"vqmovnb.s32 q{out}, q{out}",
        f"vqmovnt.s32 q{out}, q{results[1]}",
        "ldm sp, {r0, r1, r3, r5, r7, r8, r10, r12} // zero point, pixels, 2, end, y",
        f"vqadd.s16 q{out}, q{out}, r0",
        *narrowing(scale, out, other, "r0"),
        *_store(pixels, out),
        "vadd.i16 q6, q6, r8 // the next two channels",
    ]


def _store(pixels: int, q: int) -> list[str]:
    if pixels == PIXELS:
        return [f"vstrb.16 q{q}, [r12, q6]"]
    mask = (1 << 4 * pixels) - 1
    return [f"movw r0, #{mask}", "vmsr p0, r0", "vpst", f"vstrbt.16 q{q}, [r12, q6]"]


def _function(
    name: str,
    title: str,
    body: list[str],
    scale: Scaling,
    zeros: bool,
    pixels: int = PIXELS,
    once: Sequence[str] = (),
) -> Function:
    lines = [
        *SAVE,
        "mov r0, %0",
        "ldr lr, [r0, #48]",
        "ldm r0, {r1-r12}",
        *(["vmov.i32 q0, #0", "sub sp, sp, #32", "vstrw.32 q0, [sp]", "vstrw.32 q0, [sp, #16]"]
          if zeros else []),
        "sub sp, sp, #16",
        "push {r1-r12, lr} // the job; zero point and pixels at the front",
        "movs r0, #0",
        "vidup.u32 q0, r0, #1",
        "mov r1, #0x10000",
        "vdup.32 q6, r1",
        "vmla.s32 q6, q0, lr // where two channels of four pixels go",
        "vstrw.32 q6, [sp, #52]",
        "1:",
        "ldr r9, [sp, #32] // the stream",
        "ldm sp, {r0, r1, r3, r5, r7}",
        *once,
        "2:",
        *body,
        *_finish(scale, pixels, bool(once)),
        "cmp r9, r10",
        "bne 2b",
        "vldrw.u32 q0, [sp, #4]",
        "ldrd r2, r3, [sp, #36] // fours left, step of x",
        "vadd.i32 q0, q0, r3",
        "vstrw.32 q0, [sp, #4]",
        "ldr r4, [sp, #44] // step of y",
        "vldrw.u32 q6, [sp, #52]",
        "add r12, r12, r4",
        "str r12, [sp, #28]",
        "subs r2, r2, #1",
        "str r2, [sp, #36]",
        "bne 1b",
        f"add sp, sp, #{100 if zeros else 68}",
        *RESTORE,
    ]  # fmt: skip
    statement = assembly(lines, f': : "r"(job) : {clobbers()}')
    return Function(
        name,
        f"/* {'Four pixels after four' if pixels == PIXELS else 'Less than four pixels'},"
        f" two channels after two: {title} each. */\n"
        f"static void {name}(const struct mve_job *job)\n{{\n{statement}\n}}",
        (JOB,),
    )
