"""Rows of an image side by side, for depthwise convolutions.

``to[(column * channels + channel) * 4 + i]`` is row ``i`` of four: the sixteen bytes of four
columns of a channel, which one gathering load of four words fetches, are all that a 3x3 window of
up to 2 x 2 results meets.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.assembly import assembly, clobbers

#: Channels that are taken together.
LANES = 16
_SAVE, _RESTORE = "push {r4-r11, lr}", "pop {r4-r11, lr}"

JOB = Function(
    "mve_planes_job",
    """\
/* Four rows that are to be interleaved, byte after byte. */
struct mve_planes_job {
    int8_t *to;
    int32_t columns;
    int32_t vectors; /* of 16 bytes in a row, where every address is that of a word */
    const int8_t *from[4];
    int32_t step[4]; /* from one column to the next */
    int32_t pitch;   /* likewise in to; what lies behind the last column is overwritten */
    int32_t lanes;   /* channels, 16 at most */
};""",
)


def interleave() -> Function:
    """Any four rows: one that is missing has a step of 0."""
    lines = [
        _SAVE,
        "mov r0, %0",
        "ldm r0!, {r1, r2, r3}",
        "ldm r0, {r3-r12}",
        "vctp.8 r12",
        "dls lr, r2",
        "1:",
        "vpstttt",
        *(f"vldrbt.u8 q{i}, [r{3 + i}]" for i in range(4)),
        *(f"vst4{i}.8 {{q0, q1, q2, q3}}, [r1]" for i in range(4)),
        *(f"add r{3 + i}, r{3 + i}, r{7 + i}" for i in range(4)),
        "add r1, r1, r11",
        "le lr, 1b",
        _RESTORE,
    ]
    return _function("mve_interleave", lines)


def has_words(channels: int, step: int) -> bool:
    """Whether :func:`fast` can take 16 channels of columns that lie ``step`` bytes apart."""
    return channels % LANES == 0 and step <= 508


def fast(step: int) -> Function:
    """Four rows of whole vectors, ``step`` bytes apart, at addresses of words."""
    lines = [
        _SAVE,
        "mov r0, %0",
        "ldm r0, {r1-r7}",
        "dls lr, r3",
        "1:",
        *(f"vldrw.u32 q{i}, [r{4 + i}], #{step}" for i in range(4)),
        *(f"vst4{i}.8 {{q0, q1, q2, q3}}, [r1]{'!' if i == 3 else ''}" for i in range(4)),
        "le lr, 1b",
        _RESTORE,
    ]
    return _function(f"mve_interleave_{step}", lines)


def _function(name: str, lines: list[str]) -> Function:
    statement = assembly(lines, f': : "r"(job) : {clobbers()}')
    return Function(
        name,
        f"static void {name}(const struct mve_planes_job *job)\n{{\n{statement}\n}}",
        (JOB,),
    )
