"""How much smaller do features get, and what does the server still get right?

    python -m benchmarks.split.ratio_accuracy [--model NAME ...] [--cut NAME ...] [--samples N]

ResNet8 and the sample model ``fashion``, cut behind each residual addition. For each budget of
noise a codec is fitted to training pictures; then every test picture goes through it: integer
graph, encoder, frame in C, frame read again, decoder, integer graph. Bytes are those of whole
frames, one sample each and 32 samples each. Beside it the same features in plain uniform codes,
and the input pictures as JPEG and WebP of the size of the frames.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from intaglio.targets.c.split.library import Coder
from intaglio.transforms.split.coding import decode_features, encode_features
from intaglio.transforms.split.frames import CHECKSUM_BYTES, HEADER
from intaglio.transforms.split.specification import CodecSpecification
from intaglio.verification.split_baselines import (
    FORMATS,
    find_quality,
    quantize_uniform,
    through_pictures,
)

from benchmarks.common import default_shared, environment, markdown_table, write_json
from benchmarks.split.cutting import MODELS, NAMES, CutModel, open_cuts, picture_accuracy, pixels_of

RESULTS = Path(__file__).resolve().parent / "results"
NOISE = (0.003, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03)
BATCH = 32

#: Points of accuracy that may be lost against the float model.
LOSS = 0.5
SGQ = 15.97
_FRAME = HEADER.size + CHECKSUM_BYTES


def codec_row(cut: CutModel, name: str, **options: Any) -> dict[str, Any]:
    """One codec on the whole test set.

    Args:
        cut: The model at its cut.
        name: What to call it.
        **options: Those of ``calibrate.fit_codec``.
    """
    specification, facts = cut.fit(**options)
    coder = Coder(specification)
    codes, ranges = encode_features(specification, {cut.value: cut.features})
    single = [coder.write_frame(codes[i : i + 1], ranges[i : i + 1]) for i in range(len(codes))]
    batches = [
        coder.write_frame(codes[i : i + BATCH], ranges[i : i + BATCH])
        for i in range(0, len(codes), BATCH)
    ]
    frames = [coder.read_frame(data) for data in single]
    found = decode_features(
        specification,
        np.concatenate([frame.codes for frame in frames]),
        np.concatenate([frame.ranges for frame in frames]),
    )
    accuracy = cut.accuracy(found[cut.value])
    row = _row(cut, name, sum(map(len, single)) / len(codes), accuracy)
    return {
        **row,
        "bytes_in_batches": sum(map(len, batches)) / len(codes),
        "ratio_fp32_in_batches": _fp32(cut) / (sum(map(len, batches)) / len(codes)),
        "noise": facts["noise"],
        "options": options,
        "share_patch": specification.features[0].share_patch,
        "specification_bytes": table_bytes(specification),
    }


def table_bytes(specification: CodecSpecification) -> int:
    """Bytes of the device's tables: codes, and frequencies of 16 bits."""
    stripes = [stripe for feature in specification.features for stripe in feature.stripes]
    return sum(
        len(stripe.encode) + 2 * sum(len(row) for row in stripe.frequencies) for stripe in stripes
    )


def _row(cut: CutModel, name: str, size: float, accuracy: float) -> dict[str, Any]:
    elements = cut.features[0].size
    return {
        "model": cut.case.name,
        "cut": cut.cut,
        "codec": name,
        "bytes": size,
        "ratio_fp32": _fp32(cut) / size,
        "ratio_u8": (elements + _FRAME) / size,
        "accuracy": accuracy,
        "against_float": accuracy - cut.float_accuracy,
        "against_integer": accuracy - cut.integer_accuracy,
    }


def _fp32(cut: CutModel) -> int:
    return 4 * cut.features[0].size


def plain_rows(cut: CutModel) -> Iterator[dict[str, Any]]:
    """The float features, and uniform quantizers with the range of each sample."""
    yield _row(cut, "fp32", _fp32(cut), cut.float_accuracy)
    kinds = {
        "uniform u8": (8, False),
        "uniform u4": (4, False),
        "per-channel u4": (4, True),
        "uniform u2": (2, False),
    }
    for name, (bits, per_channel) in kinds.items():
        parts = np.array_split(cut.features, 20)
        made = [quantize_uniform(part, bits, per_channel=per_channel) for part in parts]
        features = np.concatenate([part for part, _ in made])
        yield _row(cut, name, made[0][1] + _FRAME, cut.accuracy(features))


def picture_rows(cut: CutModel, size: float) -> Iterator[dict[str, Any]]:
    """The input as JPEG and WebP no larger than ``size`` bytes."""
    pixels = pixels_of(cut)
    for format_name in FORMATS:
        quality = find_quality(pixels[:500], format_name, size)
        restored, total = through_pictures(pixels, format_name, quality.quality)
        accuracy = picture_accuracy(cut, restored)
        row = _row(cut, f"{format_name} of the input", total / len(pixels), accuracy)
        yield {**row, "quality": quality.quality, "fits": quality.fits}


def measure(
    name: str, cuts: Sequence[str], shared: Path, samples: int | None
) -> list[dict[str, Any]]:
    """All rows of a model at some of its cuts."""
    rows: list[dict[str, Any]] = []
    for cut in open_cuts(name, shared, samples):
        if cut.cut not in cuts:
            continue
        rows += plain_rows(cut)
        curve = []
        for noise in NOISE:
            start = time.perf_counter()
            curve.append(codec_row(cut, f"noise {noise:g}", noise=noise))
            print(_line(curve[-1]), f"({time.perf_counter() - start:.0f} s)", flush=True)
        rows += curve
        best = best_of(curve)
        if best is not None:
            rows += picture_rows(cut, best["bytes"])
    return rows


def best_of(curve: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The smallest frames that lose no more than LOSS points against the float model."""
    within = [row for row in curve if row["against_float"] >= -LOSS]
    return min(within, key=lambda row: row["bytes"], default=None)


def merged(path: Path, made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """New rows in the place of those of the same cuts in an earlier file, in a fixed order."""
    fresh = {(row["model"], row["cut"]) for row in made}
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    kept = [row for row in earlier if (row["model"], row["cut"]) not in fresh]
    places = [(model, cut) for model in MODELS for cut in NAMES]
    return sorted([*kept, *made], key=lambda row: places.index((row["model"], row["cut"])))


def _line(row: Mapping[str, Any]) -> str:
    return (
        f"{row['model']} {row['cut']} {row['codec']}: {row['bytes']:.0f} bytes, "
        f"{row['ratio_fp32']:.1f}x fp32, {row['ratio_u8']:.2f}x u8, {row['accuracy']:.2f} % "
        f"({row['against_float']:+.2f})"
    )


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as tables."""
    parts = ["# Features over the wire", ""]
    head = ["codec", "bytes", "x fp32", "x u8", "x fp32 in 32s", "top-1", "against float", "int8"]
    for model, cut in dict.fromkeys((row["model"], row["cut"]) for row in rows):
        own = [row for row in rows if (row["model"], row["cut"]) == (model, cut)]
        best = best_of([row for row in own if "noise" in row])
        parts += [f"## {model}, {cut} cut", "", markdown_table(head, map(_cells, own)), ""]
        if best is not None:
            parts += [
                f"At most {LOSS} points lost: **{best['ratio_fp32']:.1f}x** against FP32 "
                f"({best['codec']}, {best['against_float']:+.2f} points), "
                f"{best['ratio_u8']:.2f}x against 8 bits; SGQ's headline is {SGQ}x.",
                "",
            ]
    return "\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    batched = row.get("ratio_fp32_in_batches")
    return [
        row["codec"],
        f"{row['bytes']:.1f}",
        f"{row['ratio_fp32']:.1f}",
        f"{row['ratio_u8']:.2f}",
        "" if batched is None else f"{batched:.1f}",
        f"{row['accuracy']:.2f}",
        f"{row['against_float']:+.2f}",
        f"{row['against_integer']:+.2f}",
    ]


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Ratio against accuracy, a panel a cut."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row["model"], row["cut"]) for row in rows))
    figure, axes = pyplot.subplots(
        -(-len(panels) // 3), 3, figsize=(13, 3.8 * -(-len(panels) // 3)), squeeze=False
    )
    for axis, (model, cut) in zip(axes.flat, panels, strict=False):
        own = [row for row in rows if (row["model"], row["cut"]) == (model, cut)]
        curve = [row for row in own if "noise" in row]
        axis.plot(
            [row["ratio_fp32"] for row in curve],
            [row["against_float"] for row in curve],
            "o-",
            color="#0b6e99",
            label="this codec",
        )
        for row in own:
            if "noise" not in row and row["against_float"] > -12:
                axis.plot(row["ratio_fp32"], row["against_float"], "x", color="#b3541e")
                axis.annotate(row["codec"], (row["ratio_fp32"], row["against_float"]), fontsize=7)
        axis.axvline(SGQ, color="grey", linestyle=":", linewidth=1)
        axis.axhline(-LOSS, color="grey", linestyle=":", linewidth=1)
        axis.set_xscale("log")
        axis.set_ylim(-12, 1.5)
        axis.set_title(f"{model}, {cut} cut", fontsize=10)
        axis.set_xlabel("FP32 bytes over bytes of a frame")
        axis.set_ylabel("points against float")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measures and writes ``results/ratio_accuracy.*``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--cut", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--samples", type=int)
    given = parser.parse_args()
    made = [
        row
        for name in given.model
        for row in measure(name, given.cut, default_shared(), given.samples)
    ]
    rows = merged(RESULTS / "ratio_accuracy.json", made)
    write_json(RESULTS / "ratio_accuracy.json", {"environment": environment(), "rows": rows})
    text = report(rows)
    (RESULTS / "ratio_accuracy.md").write_text(text, encoding="utf-8")
    plot(rows, RESULTS / "ratio_accuracy.png")
    print(text)


if __name__ == "__main__":
    main()
