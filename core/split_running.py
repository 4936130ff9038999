"""A split bundle as if it were whole: both parts run here, with frames between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from intaglio.bundle import Bundle, BundleSession
from intaglio.split_parts import DEVICE, MANIFEST_KEY, SERVER, SERVER_TARGET
from intaglio.split_session import SplitSession, device_targets, open_split
from intaglio.targets.base import RunResult, Session, Tensors


def is_split(bundle: Bundle) -> bool:
    """Whether a bundle's model is cut in two."""
    return MANIFEST_KEY in bundle.manifest


class Joined(Session):
    """Both parts as one artifact: what :func:`open_joined` opens."""

    def __init__(self, split: SplitSession) -> None:
        self._split = split

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs both parts; there are no inner tensors."""
        count = max((len(array) for array in inputs.values() if np.ndim(array)), default=0)
        most = self._split.largest_samples
        if count <= most:
            return RunResult(self._split.run(inputs))
        parts = [
            self._split.run({name: array[at : at + most] for name, array in inputs.items()})
            for at in range(0, count, most)
        ]
        return RunResult({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def open_joined(
    bundle: Bundle,
    target: str | None = None,
    *,
    runtime: str | None = None,
    quantize_io: bool = False,
) -> BundleSession:
    """Opens device and server of a split bundle as one artifact, frames going between them.

    Args:
        bundle: The bundle.
        target: Target of the device's part, as for :func:`open_split`.
        runtime: What runs the device's part.
        quantize_io: Take and give real values at integer inputs and outputs.

    Raises:
        RecipeError: The bundle is not split, or has no such artifact.
        InputError: A file is missing or damaged.
        ToolError: A runtime failed.
    """
    split = open_split(bundle, target, runtime=runtime)
    device = bundle.artifact(target or device_targets(bundle)[0], DEVICE)
    server = bundle.artifact(SERVER_TARGET, SERVER)
    whole = dataclasses.replace(
        device, role="model", path=f"{device.path}, {server.path}", outputs=server.outputs
    )
    return BundleSession(whole, Joined(split), quantize_io)
