"""The block of depthwise convolutions: channel after channel, plane after plane, row by row."""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.assembly import RESTORE, SAVE, assembly, clobbers
from intaglio.targets.c.kernels.mve.scaling import Scaling, narrowing, rescaling

_SUMS = ("r0", "r2", "r4", "r6")
_WEIGHT_LANES = 0x0FFF
#: Offset of the step of y in the block's stack frame.
_Y_STEP = 28

JOB = Function(
    "mve_channels_job",
    """\
/* Results of some channels, in one row or several, from one plane or several. */
struct mve_channels_job {
    int8_t *y;             /* the first channel's first result */
    const int32_t *end;    /* of the stream */
    int32_t groups;        /* of eight results in a row */
    int32_t y_step;        /* bytes from one eight to the next */
    int32_t planes;        /* how many */
    int32_t plane_move;    /* bytes from where a plane's last load was to the next plane */
    int32_t y_move;        /* likewise */
    const int32_t *stream; /* for a channel: bias, multiplier, shift, three columns of weights */
    int32_t zero_point;    /* of y */
    const int8_t *plane;   /* the first */
    const int32_t *places; /* of four results in y, in words; of eight, in halfwords */
};""",
)


@dataclasses.dataclass(frozen=True)
class Form:
    """A way through a row: groups of eight results, then fours.

    Attributes:
        stride: 1 or 2.
        pitch: Bytes of a column in the planes.
        groups: Whether there are groups.
        fours: How many fours behind them.
        back: Columns that the last four begins before the end of what comes before it.
        lanes: Results of a four that are stored.
    """

    stride: int
    pitch: int
    groups: bool
    fours: int
    back: int
    lanes: int

    @property
    def name(self) -> str:
        """Part of a function's name."""
        parts = f"s{self.stride}_{self.pitch}_{'g' if self.groups else ''}{self.fours}"
        return f"{parts}_{self.back}_{self.lanes}"

    def moved(self, groups: int) -> tuple[int, int]:
        """Columns that a way through a row goes on in the plane, and in y."""
        columns = 2 if self.stride == 1 else 4
        loaded = (2 * groups + self.fours) * columns - self.back
        stored = (2 * groups + max(0, self.fours - 1)) * columns - self.back
        return loaded * self.stride, stored


def form_of(stride: int, columns: int, pitch: int) -> Form:
    """The way through a row of so many results."""
    four = 2 if stride == 1 else 4
    groups, rest = divmod(columns, 2 * four)
    fours = -(-rest // four)
    back = fours * four - rest
    if columns < four:
        return Form(stride, pitch, False, 1, 0, columns)
    return Form(stride, pitch, groups > 0, fours, back, 4)


def _sums(form: Form, q: int) -> list[str]:
    """Four results of one channel in a vector register, without bias."""
    step = f"#{2 * form.pitch}"
    lines = []
    if form.stride == 1:
        lines.append(f"vldrw.u32 q0, [q3, {step}]!")
        lines += [f"vmladav.s8 {total}, q0, q{4 + i}" for i, total in enumerate(_SUMS)]
    else:
        for total in _SUMS:
            lines.append(f"vldrw.u32 q0, [q3, {step}]!")
            lines.append(f"vmladav.s8 {total}, q0, q4")
    lines.append(f"vmov q{q}[2], q{q}[0], r0, r4")
    return [*lines, f"vmov q{q}[3], q{q}[1], r2, r6"]


def _group(form: Form, scale: Scaling, names: tuple[str, ...]) -> list[str]:
    lines = [*_sums(form, 1), *_sums(form, 2)]
    code, first = rescaling(scale, 1, 0, names)
    lines += code
    code, second = rescaling(scale, 2, 1 if first == 0 else 0, names)
    lines += code
    free = ({0, 1, 2} - {first, second}).pop()
    step = "r9"
    if scale.form == "general":
        lines.append(f"ldr r0, [sp, #{_Y_STEP}]")
        step = "r0"
    return [
        *lines,
        f"vqmovnb.s32 q{first}, q{first}",
        f"vqmovnt.s32 q{first}, q{second}",
        f"vqadd.s16 q{first}, q{first}, r7",
        *narrowing(scale, first, free, "r2"),
        f"vldrw.u32 q{free}, [r11, #16]",
        f"vstrb.16 q{first}, [r10, q{free}]",
        f"add r10, r10, {step}",
    ]


def _four(form: Form, scale: Scaling, names: tuple[str, ...], back: int, more: bool) -> list[str]:
    lines: list[str] = []
    step = "r9"
    if scale.form == "general" and (back or more):
        lines.append(f"ldr r0, [sp, #{_Y_STEP}]")
        step = "r0"
    if back:
        columns = {1: 2, 2: 3}[form.stride]  # log2 of the columns of a step
        lines += [
            f"sub r10, r10, {step}, lsr #{columns - bit} // back by {1 << bit}"
            for bit in range(2)
            if back >> bit & 1
        ]
        lines.append(f"mov r0, #{back * form.stride * form.pitch}")
        lines.append("vsub.i32 q3, q3, r0")
    lines += _sums(form, 1)
    code, result = rescaling(scale, 1, 0, names)
    lines += code
    free = 2
    lines += [
        f"vqmovnb.s32 q{result}, q{result}",
        f"vqadd.s16 q{result}, q{result}, r7",
        *narrowing(scale, result, free, "r2"),
        f"vldrw.u32 q{free}, [r11]",
    ]
    if form.lanes < 4:
        mask = (1 << 4 * form.lanes) - 1
        lines += [f"movw r0, #{mask}", "vmsr p0, r0", "vpst"]
        lines.append(f"vstrbt.32 q{result}, [r10, q{free}]")
    else:
        lines.append(f"vstrb.32 q{result}, [r10, q{free}]")
    if more:
        if scale.form == "general":
            lines.append(f"ldr r0, [sp, #{_Y_STEP}]")
        lines.append(f"add r10, r10, {step}, lsr #1")
    return lines


def _weights(form: Form) -> list[str]:
    if form.stride == 2:
        return []
    return [
        "movs r0, #0",
        "vmov q5, q4",
        "vshlc q5, r0, #32 // one column on",
        "vshl.i32 q6, q4, #8 // one row on",
        "vshl.i32 q7, q5, #8",
    ]


def channels_block(form: Form, scale: Scaling) -> Function:
    """The block that goes such a way."""
    names = ("r1", "r3", "r5", "r8", "r9")[: scale.words]
    general = scale.form == "general"
    lines = [
        *SAVE,
        "mov r0, %0",
        "ldm r0, {r1-r11}",
        "push {r1-r8}",
        "mov r12, r8 // the stream",
        "mov r7, r9 // zero point",
        "mov r9, r4 // step of y",
        f"sub r10, r10, #{2 * form.pitch} // loads move on by two columns first",
        "vdup.32 q3, r10",
        "movs r0, #0",
        "vidup.u32 q0, r0, #1",
        f"mov r0, #{form.pitch}",
        "vmla.s32 q3, q0, r0 // addresses of four columns",
        "sub sp, sp, #16",
        "vstrw.32 q3, [sp]",
        f"movw r0, #{_WEIGHT_LANES}",
        "vmsr p0, r0",
        "1:",
        f"ldm r12!, {{{', '.join(names)}}} // bias, multiplier, shift",
        *([f"movw r0, #{_WEIGHT_LANES}", "vmsr p0, r0"] if form.lanes < 4 else []),
        "vpst // what is behind three columns is not weights",
        "vldrwt.u32 q4, [r12], #12",
        *_weights(form),
        "vldrw.u32 q3, [sp]",
        "movs r2, #4",
        "vadd.i32 q0, q3, r2 // the next channel's columns",
        "vstrw.32 q0, [sp]",
        "ldr r10, [sp, #16]",
        "add r0, r10, #1",
        "str r0, [sp, #16]",
        *(["ldr r0, [sp, #32]", "str r0, [sp, #44]"] if general else ["ldr r8, [sp, #32]"]),
        "3: // a plane",
    ]
    if form.groups:
        lines += ["ldr r0, [sp, #24]", "dls lr, r0", "2:", *_group(form, scale, names), "le lr, 2b"]
    for place in range(form.fours):
        last = place == form.fours - 1
        lines += _four(form, scale, names, form.back if last else 0, not last)
    lines += [
        "ldrd r0, r2, [sp, #36]",
        "vadd.i32 q3, q3, r0",
        "add r10, r10, r2",
        *(["ldr r0, [sp, #44]", "subs r0, r0, #1", "str r0, [sp, #44]"] if general
          else ["subs r8, r8, #1"]),
        "bne 3b",
        "ldr r0, [sp, #20]",
        "cmp r12, r0",
        "bne 1b",
        "add sp, sp, #48",
        *RESTORE,
    ]  # fmt: skip
    name = f"mve_channels_{form.name}_{scale.name}"
    statement = assembly(lines, f': : "r"(job) : {clobbers()}')
    return Function(
        name,
        f"static void {name}(const struct mve_channels_job *job)\n{{\n{statement}\n}}",
        (JOB,),
    )
