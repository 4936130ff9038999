"""How many samples a second get through, from the device's input to the server's answer?

    python -m benchmarks.split.link [--noise 0.01]

The link is simulated: bytes over bandwidth. All else is timed here, one thread, one sample at a
time: both halves as integer graphs in onnxruntime, table look-ups in numpy, entropy coder and
frames in C. Device, link and server work at the same time on different samples, so that the
slowest of them sets the pace; the sum is the delay of a sample. Beside it the same cut with FP32
features and with plain 8-bit ones, and the whole model on the server with the input sent as JPEG
(encoding and decoding timed too) of the smallest quality that loses no more than half a point.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.targets.c.split.library import Coder
from intaglio.transforms.split.coding import decode_features, encode_features
from intaglio.transforms.split.frames import CHECKSUM_BYTES, HEADER
from intaglio.verification.split_baselines import decode_picture, encode_picture, through_pictures

from benchmarks.common import default_shared, environment, markdown_table, write_json
from benchmarks.split.cutting import (
    MODELS,
    CutModel,
    integer_inputs,
    open_cuts,
    part,
    picture_accuracy,
    pixels_of,
)

RESULTS = Path(__file__).resolve().parent / "results"
LINKS = (1, 10, 100)
_SAMPLES = 200
_LOSS = 0.5
_FRAME = HEADER.size + CHECKSUM_BYTES


def seconds(work: Callable[[int], object]) -> float:
    """Seconds of one call: the tenth percentile over the samples."""
    found = []
    for index in range(_SAMPLES):
        start = time.perf_counter()
        work(index)
        found.append(time.perf_counter() - start)
    return float(np.percentile(found, 10))


def measure(cut: CutModel, noise: float) -> list[dict[str, Any]]:
    """All ways of sending at one cut."""
    outputs = [str(value.name) for value in cut.model.graph.outputs]
    name = cut.case.input
    head = part(cut.model, [name], [cut.value])
    tail = part(cut.model, [cut.value], outputs)
    whole = part(cut.model, [name], outputs)
    inputs, features = integer_inputs(cut)[:_SAMPLES], cut.features[:_SAMPLES]
    device = seconds(lambda i: head.run(None, {name: inputs[i : i + 1]}))
    server = seconds(lambda i: tail.run(None, {cut.value: features[i : i + 1]}))
    everything = seconds(lambda i: whole.run(None, {name: inputs[i : i + 1]}))
    specification, _ = cut.fit(noise=noise)
    coder = Coder(specification)
    codes, ranges = encode_features(specification, {cut.value: cut.features})
    frames = [coder.write_frame(codes[i : i + 1], ranges[i : i + 1]) for i in range(len(codes))]
    size = sum(map(len, frames)) / len(frames)
    found = decode_features(specification, codes, ranges)[cut.value]
    # The table look-ups, which the device's graph does, are timed as in numpy.
    lookup = seconds(lambda i: encode_features(specification, {cut.value: features[i : i + 1]}))
    encode = seconds(lambda i: coder.write_frame(codes[i : i + 1], ranges[i : i + 1]))
    decode = seconds(lambda i: coder.read_frame(frames[i]))
    restore = seconds(lambda i: decode_features(specification, codes[i : i + 1], ranges[i : i + 1]))
    elements = features[0].size
    rows = [
        _row(cut, "FP32 features", 4 * elements + _FRAME, device, server, cut.float_accuracy),
        _row(cut, "uniform u8", elements + _FRAME, device, server, cut.integer_accuracy),
        _row(
            cut,
            "this codec",
            size,
            device + lookup + encode,
            decode + restore + server,
            cut.accuracy(found),
        ),
    ]
    return [*rows, _picture_row(cut, everything)]


def _picture_row(cut: CutModel, everything: float) -> dict[str, Any]:
    """The input as JPEG, of the lowest of some qualities that loses no more than _LOSS points."""
    pixels = pixels_of(cut)
    for quality in (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100):
        restored, total = through_pictures(pixels, "JPEG", quality)
        accuracy = picture_accuracy(cut, restored)
        if accuracy >= cut.float_accuracy - _LOSS:
            break
    files = [encode_picture(each, "JPEG", quality) for each in pixels[:_SAMPLES]]
    encode = seconds(lambda i: encode_picture(pixels[i], "JPEG", quality))
    decode = seconds(lambda i: decode_picture(files[i], pixels.shape[3]))
    size = total / len(pixels)
    return _row(cut, f"JPEG input, quality {quality}", size, encode, decode + everything, accuracy)


def _row(
    cut: CutModel, name: str, size: float, device: float, server: float, accuracy: float
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": cut.case.name,
        "cut": cut.cut,
        "way": name,
        "bytes": size,
        "device_ms": 1000 * device,
        "server_ms": 1000 * server,
        "accuracy": accuracy,
    }
    for link in LINKS:
        wire = 8 * size / (link * 1e6)
        row[f"samples_a_second_{link}"] = 1 / max(device, wire, server)
        row[f"delay_ms_{link}"] = 1000 * (device + wire + server)
    return row


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table a cut."""
    head = ["sent", "bytes", "device, ms", "server, ms", "top-1"]
    head += [f"samples/s at {link} Mbit/s" for link in LINKS]
    head += [f"delay at {link}, ms" for link in LINKS]
    parts = ["# End to end over a simulated link", ""]
    for model, cut in dict.fromkeys((row["model"], row["cut"]) for row in rows):
        own = [row for row in rows if (row["model"], row["cut"]) == (model, cut)]
        parts += [f"## {model}, {cut} cut", "", markdown_table(head, map(_cells, own)), ""]
        by_way = {row["way"]: row for row in own}
        ours, plain = by_way["this codec"], by_way["uniform u8"]
        gains = [
            f"{ours[f'samples_a_second_{n}'] / plain[f'samples_a_second_{n}']:.1f}x at {n} Mbit/s"
            for n in LINKS
        ]
        parts += [f"Samples a second over uniform u8: {', '.join(gains)}.", ""]
    return "\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["way"],
        f"{row['bytes']:.0f}",
        f"{row['device_ms']:.3f}",
        f"{row['server_ms']:.3f}",
        f"{row['accuracy']:.2f}",
        *(f"{row[f'samples_a_second_{link}']:.1f}" for link in LINKS),
        *(f"{row[f'delay_ms_{link}']:.1f}" for link in LINKS),
    ]


def main() -> None:
    """Measures and writes ``results/link.*``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--samples", type=int)
    given = parser.parse_args()
    rows = [
        row
        for name in given.model
        for cut in open_cuts(name, default_shared(), given.samples)
        for row in measure(cut, given.noise)
    ]
    write_json(RESULTS / "link.json", {"environment": environment(), "rows": rows})
    text = report(rows)
    if given.samples:
        text += f"\nTop-1 on the first {given.samples} samples of the test sets.\n"
    (RESULTS / "link.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
