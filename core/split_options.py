"""Options of ``convert`` that are for recipe ``split`` alone, as settings of its passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from intaglio.errors import RecipeError
from intaglio.recipe import Recipe, load_recipe

AUTO = "auto"

CHOOSE_CUT = "calibrate.choose_cut"
FIT_CODEC = "calibrate.fit_codec"
INSERT_CODEC = "split.insert_codec"

_FLAGS = {
    "at": "--split-at",
    "bandwidth": "--bandwidth",
    "device_gops": "--device-gops",
    "server_gops": "--server-gops",
}
_BITS = "--bits-per-element"


def splits(recipe: Recipe) -> bool:
    """Whether a recipe cuts models in two."""
    return any(step.enabled and step.pass_name == INSERT_CODEC for step in recipe.steps)


def split_settings(
    recipe: str | Path | Recipe,
    *,
    at: str | None = None,
    bandwidth: str | None = None,
    device_gops: float | None = None,
    server_gops: float | None = None,
    bits_per_element: float | None = None,
) -> dict[str, Any]:
    """What the options of a cut set.

    Args:
        recipe: The recipe, or its name.
        at: Where to cut: ``auto``, the name of a tensor or of a node, or two joined by a comma.
        bandwidth: From device to server, such as ``1Mbps``; with ``auto`` only.
        device_gops: Speed of the device in 10^9 operations a second; likewise.
        server_gops: Speed of the server; likewise.
        bits_per_element: Bits that an element of the features may take.

    Returns:
        Values by full name of the option; empty where nothing was asked for.

    Raises:
        RecipeError: The recipe does not cut models, or speeds are given beside a place.
    """
    choice = {
        "at": at,
        "bandwidth": bandwidth,
        "device_gops": device_gops,
        "server_gops": server_gops,
    }
    asked = {name: value for name, value in choice.items() if value is not None}
    flags = [_FLAGS[name] for name in asked]
    flags += [] if bits_per_element is None else [_BITS]
    if not flags:
        return {}
    opened = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if not splits(opened):
        raise RecipeError(
            f"{', '.join(flags)}: recipe {opened.name} does not cut the model in two",
            remedy="add --recipe split, or leave the option out",
        )
    speeds = [_FLAGS[name] for name in asked if name != "at"]
    if speeds and at not in (None, AUTO):
        raise RecipeError(
            f"{speeds[0]} has no effect where --split-at names the place",
            remedy="leave it out, or use --split-at auto",
        )
    found: dict[str, Any] = {f"{CHOOSE_CUT}.{name}": value for name, value in asked.items()}
    if bits_per_element is not None:
        found[f"{FIT_CODEC}.bits_per_element"] = bits_per_element
    return found
