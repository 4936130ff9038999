"""intaglio's side: a recipe, options and targets, converted through the public API."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import intaglio
import numpy as np
from intaglio.bundle import Bundle
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Variant:
    """A recipe with options.

    Attributes:
        name: What the tables call it; the default recipe is ``default``.
        recipe: Name or file of a recipe.
        sets: Options, as of ``--set``.
    """

    name: str
    recipe: str = "int8"
    sets: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Reads ``name: key=value; key=value``; ``recipe=...`` chooses another recipe.

        Raises:
            ValueError: There is no name.
        """
        name, colon, options = text.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"'{text}' is no variant: write 'name: key=value; key=value'")
        sets = [option.strip() for option in options.split(";") if option.strip()]
        recipe = "int8"
        for option in list(sets):
            if option.startswith("recipe="):
                recipe = option.removeprefix("recipe=")
                sets.remove(option)
        return cls(name.strip(), recipe, tuple(sets))


def convert(
    variant: Variant, model: Path, input_name: str, samples: NDArray[np.float32], out: Path
) -> Bundle:
    """Converts a model to both ONNX targets.

    Args:
        variant: Recipe and options.
        model: The float model.
        input_name: Its input.
        samples: Calibration samples, samples first.
        out: Folder of the bundle.
    """
    return intaglio.convert(
        model,
        recipe=variant.recipe,
        targets=["onnx-qdq", "onnx-integer"],
        calibration={input_name: samples},
        out=out,
        sets=list(variant.sets),
    )
