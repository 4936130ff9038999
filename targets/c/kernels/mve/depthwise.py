"""Depthwise 3x3 convolutions: one dot product a result, of one vector of 4 x 4 pixels.

With four rows side by side (:mod:`~.planes`) one load has 4 columns of 4 rows of a channel. The
window of a result is 9 of those 16 bytes, so one ``VMLADAV`` with the weights at the right places
is a result; stride 1 gets 2 x 2 results of the same vector, with the weights moved by a column
(``VSHLC`` by a word), by a row (``VSHL`` by a byte), and by both. The results of a channel share
bias, multiplier and shift, which are scalars.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.mve import planes
from intaglio.targets.c.kernels.mve.assembly import RESTORE, SAVE, assembly, clobbers
from intaglio.targets.c.kernels.mve.convolution import folded_bias
from intaglio.targets.c.kernels.mve.copying import FILL
from intaglio.targets.c.kernels.mve.scaling import Scaling, narrowing, rescaling, scaling
from intaglio.targets.c.network import Convolution, Window

_SUMS = ("r0", "r2", "r4", "r6")
_WEIGHT_LANES = 0x0FFF
_MOST_OFFSET = 0xFFFF
#: Scratch memory beside planes: zero points, and what a store behind the last column touches.
_EDGES = 16 + 64
#: Offset of the step of y in a block's stack frame.
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

DRIVER = Function(
    "mve_depthwise",
    """\
/* A depthwise convolution with a 3x3 kernel, some channels at a time. */
struct mve_depthwise {
    int32_t rows, columns, channels; /* of the image that planes show: columns may be its rows */
    int32_t x_row, x_column, y_row;  /* bytes from one row or column to the next */
    int32_t vectors;                 /* of 16 bytes in a row, for what takes rows fast */
    int32_t lanes;                   /* channels at a time, 16 at most */
    int32_t stride, pad_top, pad_left;
    int32_t planes, row_step; /* and rows of results from one plane to the next */
    int32_t last_row;         /* the last plane's, if it is one more than those; or -1 */
    int32_t plane_columns, pitch;
    int32_t planes_at_once;
    int32_t words;      /* of the stream, a channel */
    int32_t zero_point; /* of x */
};

/* The plane for results from row out_row on: four rows of the image, with padding. */
static void mve_take_plane(const struct mve_depthwise *shape, struct mve_planes_job *job,
                           void (*fast)(const struct mve_planes_job *), const int8_t *x,
                           const int8_t *zeros, int32_t out_row, int8_t *plane)
{
    const int32_t row = shape->x_row;
    const int32_t top = out_row * shape->stride - shape->pad_top;
    job->to = plane + shape->pad_left * shape->pitch;
    if (top >= 0 && top + 4 <= shape->rows) {
        const int8_t *const from = x + top * row;
        job->from[0] = from;
        job->from[1] = from + row;
        job->from[2] = from + 2 * row;
        job->from[3] = from + 3 * row;
        job->step[0] = job->step[1] = job->step[2] = job->step[3] = shape->x_column;
        fast(job);
    } else {
        int32_t i;
        for (i = 0; i < 4; i++) {
            const int inside = top + i >= 0 && top + i < shape->rows;
            job->from[i] = inside ? x + (top + i) * row : zeros;
            job->step[i] = inside ? shape->x_column : 0;
        }
        mve_interleave(job);
    }
    if (shape->pitch < 64) {
        /* The stores of the last columns went beyond them: into padding, or into the next plane,
           whose own columns come later. */
        const int8_t *const end = plane + shape->plane_columns * shape->pitch;
        int8_t *const behind = job->to + job->columns * shape->pitch;
        const int32_t bytes = (int32_t)(end - behind) + shape->pad_left * shape->pitch;
        mve_fill(behind, shape->zero_point, bytes < 64 ? bytes : 64);
    }
}

static void mve_convolve_channels(const struct mve_depthwise *shape,
                                  void (*block)(const struct mve_channels_job *),
                                  struct mve_channels_job *job,
                                  void (*fast)(const struct mve_planes_job *),
                                  const int8_t *x, int8_t *y, int8_t *scratch)
{
    const int32_t plane_bytes = shape->plane_columns * shape->pitch;
    const int32_t room = shape->plane_columns - shape->pad_left;
    const int32_t *const stream = job->stream;
    int8_t *const buffer = scratch + 16; /* behind 16 zero points */
    struct mve_planes_job planes;
    int32_t first, start, i;
    if (((uintptr_t)x & 3u) != 0) {
        fast = mve_interleave;
    }
    planes.columns = shape->columns < room ? shape->columns : room;
    planes.vectors = shape->vectors;
    planes.pitch = shape->pitch;
    mve_fill(scratch, shape->zero_point, 16 + shape->planes_at_once * plane_bytes);
    for (first = 0; first < shape->channels; first += shape->lanes) {
        const int32_t left = shape->channels - first;
        planes.lanes = left < shape->lanes ? left : shape->lanes;
        job->stream = stream + first * shape->words;
        job->end = job->stream + planes.lanes * shape->words;
        for (start = 0; start < shape->planes; start += shape->planes_at_once) {
            const int32_t rest = shape->planes - start;
            const int32_t count = rest < shape->planes_at_once ? rest : shape->planes_at_once;
            const int odd = start + count == shape->planes && shape->last_row >= 0;
            for (i = 0; i < count; i++) {
                mve_take_plane(shape, &planes, fast, x + first, scratch,
                               (start + i) * shape->row_step, buffer + i * plane_bytes);
            }
            job->planes = count;
            job->plane = buffer;
            job->y = y + start * shape->row_step * shape->y_row + first;
            if (odd) {
                /* One more plane, whose first results are not new. */
                const int32_t at = count < shape->planes_at_once ? count : 0;
                if (at == 0) {
                    block(job);
                }
                mve_take_plane(shape, &planes, fast, x + first, scratch, shape->last_row,
                               buffer + at * plane_bytes);
                if (at != 0) {
                    block(job);
                }
                job->planes = 1;
                job->plane += at * plane_bytes;
                job->y = y + shape->last_row * shape->y_row + first;
            }
            block(job);
        }
    }
}""",
    (JOB, planes.JOB, planes.interleave(), FILL),
)


@dataclasses.dataclass(frozen=True)
class _Form:
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


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a depthwise 3x3 convolution; None for any other."""
    del variant
    window = layer.window
    if not _is_depthwise_int8(layer):
        return None
    scale = scaling(layer.rescale, window.result[2])
    if scale is None:
        return None
    views = [view for swapped in (False, True) if (view := _View.of(window, swapped)).fits]
    if not views:
        return None
    return _over_planes(layer, scale, min(views, key=lambda view: view.work), budget)


@dataclasses.dataclass(frozen=True)
class _View:
    """An image as planes show it: as it is, or with rows and columns swapped.

    Attributes:
        swapped: Whether they are.
        stride: 1 or 2.
        image: Rows and columns.
        result: Likewise.
        channels: Channels.
        pads: Rows and columns of padding in front.
        x: Bytes from one row, and from one column, to the next in the image.
        y: Likewise in the result.
    """

    swapped: bool
    stride: int
    image: tuple[int, int]
    result: tuple[int, int]
    channels: int
    pads: tuple[int, int]
    x: tuple[int, int]
    y: tuple[int, int]

    @staticmethod
    def of(window: Window, swapped: bool) -> _View:
        """A view of the images of a window."""
        channels = window.image[2]
        turn = -1 if swapped else 1
        return _View(
            swapped,
            window.strides[0],
            window.image[:2][::turn],
            window.result[:2][::turn],
            channels,
            window.pads[::turn],
            (window.image[1] * channels, channels)[::turn],
            (window.result[1] * channels, channels)[::turn],
        )

    @property
    def rows_each(self) -> int:
        """Rows of results that a plane gives."""
        return 2 if self.stride == 1 else 1

    @property
    def four(self) -> int:
        """Columns of four results."""
        return 2 if self.stride == 1 else 4

    @property
    def row_step(self) -> int:
        """Rows of results from one plane to the next."""
        return 1 if self.result[0] == 3 else self.rows_each

    @property
    def planes(self) -> int:
        """Planes that lie so far apart."""
        return (self.result[0] - self.rows_each) // self.row_step + 1

    @property
    def is_odd(self) -> bool:
        """Whether one more plane is needed for the last row."""
        return (self.planes - 1) * self.row_step + self.rows_each < self.result[0]

    @property
    def fits(self) -> bool:
        """Whether there is a plane, and halfwords can count the places of its results."""
        farthest = (self.rows_each - 1) * self.y[0] + (2 * self.four - 1) * self.y[1]
        least = 2 if self.stride == 1 else 1
        return min(self.result) >= least and farthest <= _MOST_OFFSET

    @property
    def work(self) -> int:
        """Instructions a channel, roughly: 29 for eight results, 17 for four."""
        groups, rest = divmod(self.result[1], 2 * self.four)
        each = 29 * groups + 17 * -(-rest // self.four) + 7 + self.image[1] // 2
        return (self.planes + self.is_odd) * each + 21 * (1 + self.is_odd)


def _over_planes(layer: Convolution, scale: Scaling, view: _View, budget: int) -> Implementation:
    rows, columns = view.result
    channels = view.channels
    plane_columns = (columns - 1) * view.stride + 4
    lanes = planes.LANES
    while lanes > 4 and _EDGES + plane_columns * 4 * min(channels, lanes) > budget > 0:
        lanes //= 2
    lanes = min(channels, lanes)
    form = _form(view.stride, columns, 4 * lanes)
    function = _block(form, scale)
    room = plane_columns - view.pads[1]
    taken = min(view.image[1], room)
    fast, vectors = None, 0
    if lanes == planes.LANES and planes.has_words(channels, view.x[1]):
        fast, vectors = planes.fast(view.x[1]), taken
    elif lanes == channels and channels in (4, 8) and not view.swapped and view.x[0] % 16 == 0:
        # Vectors of several columns are taken only where all columns are.
        if taken == view.image[1]:
            fast, vectors = planes.fast(planes.LANES), view.x[0] // planes.LANES
    plane_bytes = plane_columns * form.pitch
    wanted = view.planes + view.is_odd
    everything = _EDGES + wanted * plane_bytes
    # With no more planes than the result has bytes, and the result in the input's place, no more
    # memory is needed than with little scratch memory and both tensors.
    alike = view.stride == 1 and view.result == view.image
    whole = everything <= budget or (budget == 0 and alike and everything <= layer.output.bytes)
    count = wanted if whole else max(1, min(wanted, (budget - _EDGES) // plane_bytes))
    groups = columns // (2 * view.four) if form.groups else 0
    shape = [
        *view.image,
        *(channels, *view.x, view.y[0], vectors, lanes),
        *(view.stride, *view.pads),
        *(view.planes, view.row_step, rows - view.rows_each if view.is_odd else -1),
        *(plane_columns, form.pitch, count, 3 + scale.words, layer.inputs[0].zero_point),
    ]
    loaded, stored = form.moved(groups)
    moves = [
        plane_bytes - loaded * form.pitch,
        view.row_step * view.y[0] - stored * view.y[1],
    ]
    lines = [
        f"static const struct mve_depthwise shape = {{{', '.join(map(str, shape))}}};",
        f"struct mve_channels_job job = {{y, @stream@, {groups}, {2 * view.four * view.y[1]}, 1,",
        f"                               {moves[0]}, {moves[1]}, @stream@, {scale.zero_point}, x0,",
        "                               @places@};",
        f"mve_convolve_channels(&shape, {function.name}, &job,",
        f"                      {fast.name if fast else 'mve_interleave'}, x0, y,",
        "                      (int8_t *)scratch);",
    ]
    return Implementation(
        "\n".join(lines),
        (*([fast] if fast else []), DRIVER, function),
        (
            Array("stream", _stream(layer, scale, view.swapped)),
            Array("places", _places(view)),
        ),
        scratch=_EDGES + count * plane_bytes,
        in_place=(0,) if whole and alike else (),
    )


def _is_depthwise_int8(layer: Convolution) -> bool:
    window = layer.window
    return (
        layer.is_depthwise
        and layer.groups == window.image[2] == window.result[2]
        and window.kernel == (3, 3)
        and window.dilations == (1, 1)
        and window.strides in ((1, 1), (2, 2))
        and not layer.wide
        and layer.weight_zero_point == 0
        and layer.inputs[0].dtype == "int8"
        and layer.output.dtype == "int8"
    )


def _form(stride: int, columns: int, pitch: int) -> _Form:
    four = 2 if stride == 1 else 4
    groups, rest = divmod(columns, 2 * four)
    fours = -(-rest // four)
    back = fours * four - rest
    if columns < four:
        return _Form(stride, pitch, False, 1, 0, columns)
    return _Form(stride, pitch, groups > 0, fours, back, 4)


def _stream(layer: Convolution, scale: Scaling, swapped: bool) -> NDArray[np.int32]:
    """For each channel bias and columns of the rescale, then three weights a column and a zero."""
    channels = layer.weights.shape[0]
    columns = np.zeros((channels, 3, 4), np.int8)
    window = layer.weights[:, :, :, 0]
    columns[:, :, :3] = window if swapped else window.transpose(0, 2, 1)
    words = np.ascontiguousarray(columns).reshape(channels, 12).view("<i4")
    bias = folded_bias(layer).astype(np.int32)[:, None]
    return np.concatenate([bias, scale.columns, words], axis=1).astype(np.int32).reshape(-1)


def _places(view: _View) -> NDArray[np.int32]:
    """Where four results go, as words, and eight, as halfwords: evens are the first four."""
    row, column = view.y
    if view.stride == 1:
        four = np.array([0, column, row, row + column])
    else:
        four = np.arange(4) * column
    eight = np.stack([four, four + view.four * column], axis=1).reshape(-1).astype("<u2")
    return np.concatenate([four.astype("<i4"), eight.view("<i4")]).astype(np.int32)


def _sums(form: _Form, q: int) -> list[str]:
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


def _group(form: _Form, scale: Scaling, names: tuple[str, ...]) -> list[str]:
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


def _four(form: _Form, scale: Scaling, names: tuple[str, ...], back: int, more: bool) -> list[str]:
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


def _weights(form: _Form) -> list[str]:
    if form.stride == 2:
        return []
    return [
        "movs r0, #0",
        "vmov q5, q4",
        "vshlc q5, r0, #32 // one column on",
        "vshl.i32 q6, q4, #8 // one row on",
        "vshl.i32 q7, q5, #8",
    ]


def _block(form: _Form, scale: Scaling) -> Function:
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
