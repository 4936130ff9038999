"""Which networks `fit` makes: the presets' sizes, in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from intaglio.errors import RecipeError

#: How channels choose rows: each at one fixed neighbour, or through 3x3 taps that are learned.
TAPS = ("shift", "learned")
KINDS = ("centred", "reference")


@dataclasses.dataclass(frozen=True)
class Structure:
    """The layers of a network; which task it is for adds stride and sub-pixels.

    Attributes:
        kind: ``centred`` (no rotations, 16 rows) or ``reference`` (TinyLUT's, four rotations).
        channels: Features of a cell, a multiple of 8, 16 to 64.
        mixings: Table layers with a residual, of the reference structure its stages.
        share: How many mixings one after the other use the same tables (centred only).
        kernel: Rows and columns of the stem's window; 0 for 3, or 6 at half resolution.
        taps: One of TAPS (centred only).
    """

    kind: str = "centred"
    channels: int = 24
    mixings: int = 6
    share: int = 1
    kernel: int = 0
    taps: str = "learned"

    def check(self, stride: int) -> Structure:
        """The structure with the kernel filled in.

        Args:
            stride: Pixels on a side of a cell.

        Raises:
            RecipeError: There is no such network.
        """
        kernel = self.kernel or (3 if stride == 1 else 6)
        if self.kind not in KINDS:
            raise _refused("kind", self.kind, f"give one of {', '.join(KINDS)}")
        if self.kind == "reference":
            if stride != 1:
                raise RecipeError(
                    "the structure of tiny-s and tiny-f does not work at half resolution",
                    remedy="give another preset",
                )
            kernel = 3
        if self.taps not in TAPS:
            raise _refused("taps", self.taps, f"give one of {', '.join(TAPS)}")
        if self.channels % 8 or not 16 <= self.channels <= 64:
            raise _refused("channels", self.channels, "give 16, 24, 32, ... 64")
        if not (self.kind == "reference") <= self.mixings <= 32:
            raise _refused("mixings", self.mixings, "give 1 to 32")
        if not 1 <= self.share <= max(1, self.mixings):
            raise _refused("share", self.share, "give 1, or up to the number of mixings")
        if kernel % 2 != stride % 2 or not stride <= kernel <= 8:
            sizes = "1, 3, 5 or 7" if stride == 1 else "2, 4, 6 or 8"
            raise _refused("kernel", self.kernel, f"give {sizes}")
        return dataclasses.replace(self, kernel=kernel)


def _refused(name: str, value: object, remedy: str) -> RecipeError:
    return RecipeError(f"{name} is {value}", remedy=remedy)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A structure, and how to train it.

    Attributes:
        structure: The layers.
        rate: Largest learning rate, in steps of a table's entries.
        words: What it is for, in a few words.
    """

    structure: Structure
    rate: float
    words: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "small": Preset(Structure(channels=16, mixings=8, share=2), 0.6, "20 KiB of tables for x4"),
        "medium": Preset(Structure(channels=24, mixings=6), 0.6, "60 KiB of tables for x4"),
        "large": Preset(Structure(channels=32, mixings=9), 0.5, "152 KiB of tables for x4"),
        "tiny-s": Preset(
            Structure("reference", channels=16, mixings=1), 0.6, "TinyLUT-S: four rotations"
        ),
        "tiny-f": Preset(
            Structure("reference", channels=16, mixings=7),
            0.3,
            "TinyLUT-F: depthwise tables, four rotations",
        ),
    }
)


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        RecipeError: There is none of that name.
    """
    if name not in PRESETS:
        raise RecipeError(f"no preset '{name}'", remedy=f"give one of {', '.join(PRESETS)}")
    return PRESETS[name]
