"""Figures of papers, not measured here. All of them were trained on DIV2K.

Sources: TinyLUT: Li et al., "TinyLUT: Tiny Look-Up Table for Efficient Image Restoration at the
Edge", 2024. ShiftLUT: the tables that its authors released. DnCNN: Zhang et al., "Beyond a Gaussian
Denoiser", 2017, as TinyLUT's authors cite it; its noise is neither rounded nor clamped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

_KIB = 1024


@dataclasses.dataclass(frozen=True)
class Published:
    """A method in the words of its authors.

    Attributes:
        name: The method.
        bytes: Of tables or weights; None where it is not said.
        lookups: Table entries read for an input pixel; None where it is not said.
        psnr: dB by test (``Set5``, or sigma).
        ssim: SSIM by test, where it is known.
    """

    name: str
    bytes: int | None
    lookups: int | None
    psnr: Mapping[str, float]
    ssim: Mapping[str, float] = dataclasses.field(default_factory=dict)


ENLARGING = {
    4: (
        Published(
            "TinyLUT-S",
            37_776,
            5_248,
            {"Set5": 30.22, "Set14": 27.33},
            {"Set5": 0.8535, "Set14": 0.7450},
        ),
        Published("TinyLUT-F", 171 * _KIB, None, {"Set5": 31.18, "Set14": 28.01}),
        Published("ShiftLUT s0", 24 * _KIB, None, {"Set5": 30.50, "Set14": 27.54}),
        Published("ShiftLUT s1", 38 * _KIB, None, {"Set5": 30.77, "Set14": 27.74}),
        Published("ShiftLUT s7", 116 * _KIB, None, {"Set5": 31.33, "Set14": 28.10}),
        Published("FSRCNN, float", 48 * _KIB, None, {"Set5": 30.71, "Set14": 27.60}),
    )
}
DENOISING = (
    Published("TinyLUT-S", 22 * _KIB, None, {"15": 31.10, "25": 28.26, "50": 24.29}),
    Published("TinyLUT-F", 187 * _KIB, None, {"15": 32.22, "25": 29.69, "50": 26.27}),
    Published("DnCNN, float", None, None, {"15": 32.86, "25": 30.44, "50": 27.18}),
)
