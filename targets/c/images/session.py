"""A table network of a bundle, compiled for this machine and run on images of any size."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.base import Artifact, RunResult, Session, Tensors
from intaglio.targets.c.images.library import ImageLibrary
from intaglio.targets.c.variants import BY_NAME


class ImageSession(Session):
    """The network as a shared library.

    Args:
        artifact: The artifact.
        folder: The bundle's folder.
        variant: Name of the processor to compile for; this machine must run it.

    Attributes:
        library: The compiled network.

    Raises:
        InputError: A file is missing.
        ToolError: There is no compiler, or it failed.
    """

    def __init__(self, artifact: Artifact, folder: Path, variant: str) -> None:
        self._input = artifact.inputs[0].name
        self._output = artifact.outputs[0].name
        source = folder / artifact.path
        if not source.is_file():
            raise InputError(
                f"{source} is missing from the bundle", remedy="convert the model again"
            )
        forced = [f"-D{source.stem.upper()}_PORTABLE"] if variant == "portable" else []
        with tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True) as build:
            flags = ("-O3", *BY_NAME[variant].flags, *forced)
            self.library = ImageLibrary(source.parent, source.stem, Path(build), flags)

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the network on every plane of ``[N, 1, H, W]``; it has no inner tensors to give."""
        planes = self._checked(inputs)
        results = [self.library.run(np.ascontiguousarray(plane)) for plane in planes[:, 0]]
        return RunResult({self._output: np.stack(results)[:, None]})

    def run_plane(self, plane: NDArray[np.uint8], threads: int = 1) -> NDArray[np.uint8]:
        """The result for one plane.

        Args:
            plane: uint8 (height, width).
            threads: Threads that share the picture, in bands of rows.

        Raises:
            InputError: It is no such plane, or an empty one.
        """
        checked = self._checked({self._input: np.asarray(plane)[None, None]})
        return self.library.run(np.ascontiguousarray(checked[0, 0]), threads)

    def _checked(self, inputs: Mapping[str, Any]) -> NDArray[np.uint8]:
        unknown = sorted(set(inputs) - {self._input})
        if unknown:
            raise InputError(f"there is no input '{unknown[0]}'", remedy=f"inputs: {self._input}")
        if self._input not in inputs:
            raise InputError(f"input '{self._input}' is missing", remedy=f"give {self._input}")
        planes = np.asarray(inputs[self._input])
        if planes.ndim != 4 or planes.shape[1] != 1 or planes.dtype != np.uint8 or not planes.size:
            raise InputError(
                f"input '{self._input}' is {planes.dtype} {list(planes.shape)}",
                remedy="give planes of bytes, uint8 [N, 1, height, width]",
            )
        return planes
