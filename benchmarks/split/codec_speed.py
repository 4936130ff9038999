"""How fast are codes of a cut written to frames, and read back?

    python -m benchmarks.split.codec_speed [--seconds 0.3]

The compiled coder as Python calls it, on one core: megabytes of int8 features a second (a code
stands for a byte). Features are smooth random planes in 4 to 8 levels; frequencies are those of the
same codes. Every frame is read back and compared before its time counts. ``inside`` is the time in
C alone, of calls in a row from C (``repeat.c``); ``memcpy`` is a copy of numpy arrays of the
largest batch, for scale.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library
from intaglio.targets.c.split.compiled import HEADERS, codec_library
from intaglio.targets.c.split.library import Coder
from intaglio.targets.c.split.structures import FilledCodec
from intaglio.transforms.split.entropy import count_contexts, quantize_frequencies
from intaglio.transforms.split.specification import CodecSpecification, Feature, Stripe
from numpy.typing import NDArray

from benchmarks.common import environment, markdown_table, write_json

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = ((16, 32, 32), (32, 16, 16), (64, 8, 8))
CAPS = ((3, 3, 3), (7, 7, 0))
LEVELS = (4, 6, 8)
LANES = (4, 8)
BATCHES = (1, 32)

#: Seconds that calls in a row shall take together.
_STRETCH = 1e-3


@dataclasses.dataclass(frozen=True)
class Row:
    """One case; speeds in 10^6 codes a second.

    Attributes:
        shape: Of the feature.
        caps: Of the contexts.
        levels: Of the codes.
        lanes: States of the entropy coder.
        samples: In a frame.
        bits: Of a frame for each code.
        write: As Python calls it.
        read: Likewise.
        write_inside: In C alone.
        read_inside: Likewise.
    """

    shape: tuple[int, int, int]
    caps: tuple[int, int, int]
    levels: int
    lanes: int
    samples: int
    bits: float
    write: float
    read: float
    write_inside: float
    read_inside: float


def smooth_codes(shape: Sequence[int], levels: int, samples: int) -> NDArray[np.uint8]:
    """Codes [samples, C, H, W] like those behind a Relu: near to their neighbours, often 0."""
    x = np.random.default_rng(0).standard_normal((samples, *shape))
    for axis in (2, 3, 2, 3):
        x = x + np.roll(x, 1, axis)
    x[:, 1:] += 0.7 * x[:, :-1]
    x = np.maximum(x / x.std(), 0)
    return np.minimum(x * levels / 2.5, levels - 1).astype(np.uint8)


def specification_for(
    codes: NDArray[np.uint8], levels: int, caps: tuple[int, int, int], lanes: int
) -> CodecSpecification:
    """A codec with the frequencies of these codes; each channel refers to one before its group."""
    channels = codes.shape[1]
    contexts = (caps[0] + 1) * (caps[1] + 1) * (caps[2] + 1)
    even = tuple(quantize_frequencies(np.ones(levels)).tolist())
    stripe = Stripe(
        channels, levels, tuple(i * levels // 256 for i in range(256)), (even,) * contexts
    )
    feature = Feature(
        name="cut", source="cut", shape=codes.shape[1:], scale=1.0, zero_point=0,
        order=tuple(range(channels)), stripes=(stripe,),
        decode=(tuple(range(levels)),) * channels, caps=caps,
        references=tuple(c // lanes * lanes - 1 for c in range(channels)), lanes=lanes,
    )  # fmt: skip
    [counts] = count_contexts(codes, feature)
    fitted = tuple(tuple(quantize_frequencies(row + 0.1).tolist()) for row in counts)
    feature = dataclasses.replace(
        feature, stripes=(dataclasses.replace(stripe, frequencies=fitted),)
    )
    return CodecSpecification((feature,)).check()


def seconds_of(call: Callable[[], Any], seconds: float) -> float:
    """The tenth percentile of its time, from calls for so long."""
    times: list[float] = []
    end = time.thread_time() + seconds
    while len(times) < 5 or time.thread_time() < end:
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return sorted(times)[len(times) // 10]


def seconds_inside(call: Callable[[int], float], seconds: float) -> float:
    """The tenth percentile of what ``call`` says of one call, given how many to make in a row."""
    times = max(1, int(_STRETCH / call(1)))
    found: list[float] = []
    end = time.thread_time() + seconds
    while len(found) < 5 or time.thread_time() < end:
        found.append(call(times))
    if min(found) < 0:
        raise RuntimeError("the codec failed")
    return sorted(found)[len(found) // 10]


@functools.cache
def repeater() -> ctypes.CDLL:
    """The functions of ``repeat.c``.

    Raises:
        ToolError: There is no compiler, or it failed.
    """
    number, size, pointer = ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / library_name("repeat")
        command = [
            *require_compiler(), "-std=gnu99", "-O2", "-shared", "-fPIC", f"-I{HEADERS[0].parent}",
            str(Path(__file__).with_name("repeat.c")), "-o", str(target),
        ]  # fmt: skip
        compile_files(command, Path(folder))
        library = load_library(target)
    library.repeat_write.argtypes = [pointer, pointer, pointer, number, pointer, size, number]
    library.repeat_write.restype = ctypes.c_double
    library.repeat_read.argtypes = [pointer, pointer, pointer, size, number, pointer, number]
    library.repeat_read.restype = ctypes.c_double
    return library


def measure(
    codes: NDArray[np.uint8], specification: CodecSpecification, samples: int, seconds: float
) -> tuple[float, float, float, float, float]:
    """Bits for a code, and the four speeds of :class:`Row`."""
    batch = np.ascontiguousarray(codes[:samples].reshape(samples, -1))
    coder = Coder(specification)
    frame = coder.write_frame(batch)
    found = coder.read_frame(frame, samples).codes
    if not np.array_equal(found, batch):
        raise RuntimeError("codes came back changed")
    library, filled = codec_library(), FilledCodec(specification)
    address = ctypes.addressof(filled.structure)
    memory = np.zeros(int(library.split_frame_bytes(address, samples)), np.uint8)
    data, out = np.frombuffer(frame, np.uint8), np.zeros_like(batch)
    codes_at, memory_at, data_at, out_at = (a.ctypes.data for a in (batch, memory, data, out))
    write, read = (
        ctypes.cast(function, ctypes.c_void_p)
        for function in (library.split_write_frame, library.split_read_frame)
    )
    inside = repeater()
    times = (
        seconds_of(lambda: coder.write_frame(batch), seconds),
        seconds_of(lambda: coder.read_frame(frame, samples), seconds),
        seconds_inside(
            lambda times: inside.repeat_write(
                write, address, codes_at, samples, memory_at, memory.size, times
            ),
            seconds,
        ),
        seconds_inside(
            lambda times: inside.repeat_read(
                read, address, data_at, data.size, samples, out_at, times
            ),
            seconds,
        ),
    )
    speeds = [batch.size / 1e6 / each for each in times]
    return (len(frame) * 8 / batch.size, *speeds)  # type: ignore[return-value]


def memcpy_speed(seconds: float) -> float:
    """10^6 bytes a second of a copy."""
    source = np.ones(32 * 16 * 32 * 32, np.uint8)
    target = np.zeros_like(source)
    return source.size / 1e6 / seconds_of(lambda: np.copyto(target, source), seconds)


def all_rows(seconds: float) -> list[Row]:
    """Every case."""
    rows = []
    for shape in SHAPES:
        for caps in CAPS:
            for levels in LEVELS:
                codes = smooth_codes(shape, levels, max(BATCHES))
                for lanes in LANES:
                    specification = specification_for(codes, levels, caps, lanes)
                    for samples in BATCHES:
                        found = measure(codes, specification, samples, seconds)
                        rows.append(Row(shape, caps, levels, lanes, samples, *found))
                        print(rows[-1], flush=True)
    return rows


def draw(rows: Sequence[Row], memcpy: float, path: Path) -> None:
    """Bars of what Python sees, for each case with the smaller number of lanes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.lanes == LANES[0]]
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    places = np.arange(len(shown))
    axes.barh(places - 0.2, [row.write for row in shown], 0.4, label="write", color="#4477aa")
    axes.barh(places + 0.2, [row.read for row in shown], 0.4, label="read", color="#ee6677")
    axes.set_yticks(places, [_label(row) for row in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("MB of int8 features a second, one core, called from Python")
    axes.set_title(f"Frames of a split model, {LANES[0]} lanes (a copy of memory: {memcpy:.0f})")
    axes.legend()
    figure.savefig(path, dpi=120)


def _label(row: Row) -> str:
    shape, caps = "×".join(map(str, row.shape)), ",".join(map(str, row.caps))
    return f"{shape}  caps {caps}  {row.levels} levels  batch {row.samples}"


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    head = ["Case", "Lanes", "Bits a code", "Write", "Read", "Write in C", "Read in C"]
    return markdown_table(
        head,
        (
            [_label(r), str(r.lanes), f"{r.bits:.2f}"]
            + [f"{v:.0f}" for v in (r.write, r.read, r.write_inside, r.read_inside)]
            for r in rows
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each speed")
    seconds = parser.parse_args().seconds
    memcpy = memcpy_speed(seconds)
    rows = all_rows(seconds)
    about = {**environment(), "memcpy_megabytes_a_second": round(memcpy)}
    data = {"environment": about, "rows": [dataclasses.asdict(row) for row in rows]}
    write_json(RESULTS / "codec_speed.json", data)
    text = f"{about['processor']}; memcpy {memcpy:.0f} MB/s\n\n{table(rows)}\n"
    (RESULTS / "codec_speed.md").write_text(text, encoding="utf-8")
    draw(rows, memcpy, RESULTS / "codec_speed.png")
    print(text)


if __name__ == "__main__":
    main()
