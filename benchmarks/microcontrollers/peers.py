"""Figures of other engines on the same networks, each with the conditions it was got under.

``MICRO`` was measured by us, once, in the same emulator: it takes a build of TFLite Micro with
CMSIS-NN, which this benchmark does not make anew. ``PUBLISHED`` are results of others on real
boards, from the public tables of MLPerf Tiny.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

#: Networks in the order of the figures below.
NETWORKS = ("ResNet8", "VWW", "KWS")

MICRO_CONDITIONS = (
    "TFLite Micro with CMSIS-NN: gcc 12.2, kernels -O2 (in brackets -O3 where that is fewer), "
    "newlib-nano, int8-only registrations, error strings stripped; QEMU 7.2, executed instructions "
    "of one Invoke, counted exactly; outputs checked against LiteRT. Flash is code with 1.5 KB of "
    "test harness, and the .tflite file. Modelled cycles follow the same table as ours."
)

PUBLISHED_CONDITIONS = (
    "MLPerf Tiny, closed division, v1.1 and v1.2: the board's clock divided by the median "
    "throughput."
)


@dataclasses.dataclass(frozen=True)
class Micro:
    """TFLite Micro with CMSIS-NN on one network and board.

    Attributes:
        instructions: Of one inference, kernels -O2.
        best: The fewer of -O2 and -O3.
        cycles: By the model of a Cortex-M4, in millions; None on other boards.
        code_bytes: Flash without the model; None where it was not taken.
        model_bytes: Size of the .tflite file.
        arena_bytes: Arena used; None where it was not taken.
        stack_bytes: Stack; None where it was not taken.
    """

    instructions: int
    best: int
    cycles: float | None
    code_bytes: int | None
    model_bytes: int
    arena_bytes: int | None
    stack_bytes: int | None


def _micro(
    *figures: tuple[int, int, float | None, int | None, int, int | None, int | None],
) -> Mapping[str, Micro]:
    return {name: Micro(*row) for name, row in zip(NETWORKS, figures, strict=True)}


#: By board, then network.
MICRO: Mapping[str, Mapping[str, Micro]] = {
    "cortex-m4": _micro(
        (29_863_150, 29_863_150, 36.4, 51_576, 98_496, 54_996, 940),
        (24_101_546, 24_101_546, 28.9, 53_740, 333_288, 100_708, 940),
        (7_699_737, 7_699_737, 9.14, 53_740, 53_936, 22_820, 940),
    ),
    "cortex-m7": _micro(
        (30_026_199, 29_937_850, None, None, 98_496, None, None),
        (24_025_592, 24_025_592, None, None, 333_288, None, None),
        (7_645_713, 7_645_713, None, None, 53_936, None, None),
    ),
    "cortex-m55": _micro(
        (4_911_518, 4_811_081, None, 41_856, 98_496, 55_028, None),
        (6_557_952, 6_433_605, None, 45_112, 333_288, 100_772, None),
        (1_815_667, 1_787_439, None, 45_112, 53_936, 27_348, None),
    ),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """Cycles of one inference on a real board, in millions, in the order of the networks."""

    board: str
    engine: str
    cycles: tuple[float, float, float]


PUBLISHED = (
    Published("STM32L4R5, Cortex-M4, 120 MHz", "X-CUBE-AI 9.0 (v1.2)", (19.8, 10.7, 5.18)),
    Published("STM32L4R5, Cortex-M4, 120 MHz", "Plumerai 2023.05 (v1.1)", (20.1, 11.9, 5.73)),
    Published("STM32L4R5, Cortex-M4, 120 MHz", "Bosch HALE (v1.1, v1.2)", (21.5, 21.7, 7.22)),
    Published("STM32L4R5, Cortex-M4, 120 MHz", "X-CUBE-AI 8.0 (v1.1)", (26.6, 26.5, 8.72)),
    Published("STM32L4R5, Cortex-M4, 120 MHz", "microTVM, CMSIS-NN (v1.1)", (46.7, 36.1, 12.0)),
)
