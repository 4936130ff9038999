"""Frames of a split bundle: written by every coder, read back, compared and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import ToolError
from intaglio.split_session import Coder, NumpyCoder, open_coder
from intaglio.transforms.split.frames import FrameError
from intaglio.transforms.split.specification import CodecSpecification

#: Samples of a large message.
BATCH = 32

#: Samples that the numpy coder codes beside the one in C: it is slow.
TWIN_SAMPLES = 16
#: Samples that are coded at all where there is numpy only.
ALONE_SAMPLES = 64

Codes = NDArray[np.uint8]
Ranges = NDArray[np.int8]


class Frames:
    """Codes frames of one sample, and of 32, with every coder there is.

    Args:
        codec: The codec.
        warnings: Gets a sentence where there is no coder in C.

    Attributes:
        failures: A sentence for everything that is wrong, once.
    """

    def __init__(self, codec: CodecSpecification, warnings: list[str]) -> None:
        self.failures: list[str] = []
        self._codec = codec
        self._coders: dict[str, Coder] = {"numpy": NumpyCoder(codec)}
        try:
            self._coders = {"c": open_coder(codec, "c"), **self._coders}
        except ToolError as error:
            warnings.append(
                f"frames were coded in numpy only, and {ALONE_SAMPLES} samples at most: {error}"
            )
        self._first = next(iter(self._coders))
        self._twins = dict.fromkeys(self._coders, 0)
        self._frames = dict.fromkeys(self._coders, 0)
        self._sizes: dict[bool, list[int]] = {False: [], True: []}
        self._waiting: list[tuple[Codes, Ranges]] = []
        self._large: list[int] = []
        self._large_samples = 0

    def add(self, codes: Codes, ranges: Ranges, *, generated: bool) -> None:
        """Codes each sample of a batch by itself, and real ones 32 at a time, too."""
        for index in range(len(codes)):
            one = codes[index : index + 1], ranges[index : index + 1]
            if self._first == "numpy" and self._twins["numpy"] >= ALONE_SAMPLES:
                return
            self._sizes[generated].append(self._code(*one))
            if not generated:
                self._waiting.append(one)
                if len(self._waiting) == BATCH:
                    self._flush()

    def finish(self) -> None:
        """Codes what is left of the last 32 samples, where there were no whole 32."""
        if self._waiting and not self._large:
            self._flush()

    def _flush(self) -> None:
        codes = np.concatenate([each for each, _ in self._waiting])
        ranges = np.concatenate([each for _, each in self._waiting])
        self._large.append(self._code(codes, ranges))
        self._large_samples += len(codes)
        self._waiting = []

    def _code(self, codes: Codes, ranges: Ranges) -> int:
        """Bytes of a frame, which is read back; all coders are compared on the first ones."""
        frames = {}
        for name, coder in self._coders.items():
            done = self._twins[name]
            if name != self._first and done >= (TWIN_SAMPLES if len(codes) == 1 else 2 * BATCH):
                continue
            frames[name] = self._round_trip(name, coder, codes, ranges)
            self._twins[name] += len(codes)
            self._frames[name] += 1
        if len(set(frames.values())) > 1:
            self._fail(f"the coders {' and '.join(frames)} write different frames")
        return len(frames[self._first])

    def _round_trip(self, name: str, coder: Coder, codes: Codes, ranges: Ranges) -> bytes:
        frame = coder.write_frame(codes, ranges)
        try:
            found = coder.read_frame(frame, len(codes))
            same = np.array_equal(found.codes, codes) and np.array_equal(found.ranges, ranges)
            if not same:
                self._fail(f"the {name} coder reads other codes from a frame than it wrote")
        except FrameError as error:
            self._fail(f"the {name} coder refuses a frame that it wrote: {error}")
        return frame

    def _fail(self, what: str) -> None:
        if what not in self.failures:
            self.failures.append(what)

    def traffic(self) -> dict[str, float]:
        """Mean bytes of whole messages of one sample, and of a sample in messages of 32.

        Real samples; generated ones where there are no others.

        Returns:
            ``bytes``, ``ratio_fp32``, ``ratio_u8``, and with ``_batched`` behind them the same for
            large messages; ``samples``, ``elements``, ``bits_per_element``.
        """
        sizes = self._sizes[False] or self._sizes[True]
        elements = self._codec.elements
        mean = float(np.mean(sizes))
        found = {
            "bytes": mean,
            "ratio_fp32": 4 * elements / mean,
            "ratio_u8": elements / mean,
            "bits_per_element": 8 * mean / elements,
            "largest_bytes": float(max(sizes)),
            "samples": float(len(sizes)),
            "elements": float(elements),
        }
        if self._large_samples:
            each = sum(self._large) / self._large_samples
            found |= {
                "batch": float(min(BATCH, self._large_samples)),
                "bytes_batched": each,
                "ratio_fp32_batched": 4 * elements / each,
                "ratio_u8_batched": elements / each,
            }
        return found

    def to_dict(self) -> Mapping[str, Any]:
        """What was coded by which coder, JSON-friendly."""
        return {
            "coders": {
                name: {"frames": self._frames[name], "samples": self._twins[name]}
                for name in self._coders
            },
            "equal": not self.failures,
        }
