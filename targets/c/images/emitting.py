"""A table network as an artifact of target ``c``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from intaglio.errors import Refusal, UnsupportedError
from intaglio.targets.base import Artifact, Measurement
from intaglio.targets.c.images.readme import readme
from intaglio.targets.c.images.session import ImageSession
from intaglio.targets.c.images.writing import TableNetwork, structure_of, write_images
from intaglio.targets.c.training.emitting import Emitted

#: Height and width of the image that the latency is measured on.
_SIZE = (180, 320)
_ROUNDS = 7


def emit_images(network: TableNetwork, name: str, variants: Collection[str]) -> Emitted:
    """The files of a network, what the report says of them, and the README.

    Args:
        network: The network.
        name: Prefix of files and functions.
        variants: Processors to have kernels for.
    """
    sources = write_images(network, name, variants)
    return Emitted(sources.files, {"name": name, **sources.record()}, readme(name, sources))


def refusals(network: TableNetwork, role: str) -> list[Refusal]:
    """What keeps a network from being written."""
    try:
        structure_of(network)
    except UnsupportedError as error:
        return [Refusal(role, "table network", str(error), error.remedy or "")]
    return []


def latency(artifact: Artifact, folder: Path, variant: str) -> Measurement:
    """Time of one image on this machine."""
    library = ImageSession(artifact, folder, variant).library
    plane = np.random.default_rng(0).integers(0, 256, _SIZE).astype(np.uint8)
    library.seconds(plane, 1)
    times = sorted(library.seconds(plane, 1) for _ in range(_ROUNDS))
    how = (
        f"{variant}, {_SIZE[1]} x {_SIZE[0]} pixels, processor time, one thread, "
        f"median of {_ROUNDS}"
    )
    return Measurement("latency_ms", 1000 * times[_ROUNDS // 2], "ms", how)
