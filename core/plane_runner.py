"""A table network opened for planes of any size: emitted C with threads, or onnxruntime."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.bundle import SOURCE_TARGET, Bundle, load
from intaglio.errors import InputError, RecipeError
from intaglio.onnx_bands import run_in_bands
from intaglio.passes.table_networks.read import read_network
from intaglio.running import artifact_in_bundle
from intaglio.table_networks import MANIFEST_KEY, open_table_network
from intaglio.targets.base import Artifact, Session
from intaglio.transforms.images.orientations import mean_of_orientations

#: Targets in the order of preference: C is far faster.
_PREFERRED = ("c", "onnx-integer", SOURCE_TARGET)
_ONNXRUNTIME = "onnxruntime"
_INPUT = "image"

Plane = NDArray[np.uint8]


class PlaneRunner(abc.ABC):
    """Runs a table network on planes.

    Attributes:
        name: Target and runtime, such as ``c@avx2``.
        pictures_at_once: Whether several pictures may be run at the same time.
    """

    name: str
    pictures_at_once: bool

    @abc.abstractmethod
    def run(self, plane: Plane, threads: int) -> Plane:
        """The result for one plane, uint8 [height, width]."""


class LibraryRunner(PlaneRunner):
    """Emitted C; bands of a plane run on threads, and any number of planes at the same time."""

    pictures_at_once = True

    def __init__(self, name: str, session: Any) -> None:
        self.name = name
        self._session = session

    def run(self, plane: Plane, threads: int) -> Plane:
        """See :meth:`PlaneRunner.run`."""
        return np.asarray(self._session.run_plane(plane, threads=threads))


class OnnxRunner(PlaneRunner):
    """onnxruntime, which shares one pool of threads among all that runs.

    Args:
        name: What to call it.
        path: The model, a table network.
        threads: Threads to use.

    Raises:
        InputError: The file cannot be read, or is no table network.
    """

    pictures_at_once = False

    def __init__(self, name: str, path: Path, threads: int) -> None:
        from intaglio.targets.onnx.session import make_session

        self.name = name
        model = open_table_network(path)
        network = None if model is None else read_network(model)
        if network is None:
            raise InputError(
                f"{path} is damaged: it is no table network any more",
                remedy="convert the model again",
            )
        self._network = network
        self._session = make_session(path.read_bytes(), threads=threads)

    def run(self, plane: Plane, threads: int) -> Plane:
        """See :meth:`PlaneRunner.run`; the number of threads was settled on opening."""
        return run_in_bands(self._whole, plane, self._network)

    def _whole(self, plane: Plane) -> Plane:
        (result,) = self._session.run(None, {_INPUT: plane[None, None]})
        return np.asarray(result[0, 0])


class TurningRunner(PlaneRunner):
    """Runs another on several orientations of a plane and takes the mean of the results.

    Args:
        runner: The other.
        count: Orientations, one of :data:`intaglio.transforms.images.orientations.COUNTS`.
    """

    def __init__(self, runner: PlaneRunner, count: int) -> None:
        self.name = runner.name
        self.pictures_at_once = runner.pictures_at_once
        self._runner = runner
        self._count = count

    def run(self, plane: Plane, threads: int) -> Plane:
        """See :meth:`PlaneRunner.run`."""
        return mean_of_orientations(
            lambda turned: self._runner.run(turned, threads), plane, self._count
        )


def takes_pictures(path: str | Path) -> bool:
    """Whether ``path`` is a bundle, an artifact or a model file of a table network.

    Raises:
        InputError: It is a folder and no bundle, or a damaged one.
    """
    place = Path(path)
    if place.is_dir():
        return MANIFEST_KEY in load(place).manifest
    return place.is_file() and (_is_artifact(place) or open_table_network(place) is not None)


def open_planes(
    path: str | Path, target: str | None, runtime: str | None, threads: int
) -> PlaneRunner:
    """Opens a bundle, an artifact of one, or an ONNX file that is a table network.

    Args:
        path: The folder or file.
        target: Which artifact of a bundle; None for C where it runs here, else onnx-integer.
        runtime: What runs it: ``onnxruntime``, ``avx2``, or with the target ``c@avx2``.
        threads: Threads that onnxruntime may use.

    Raises:
        InputError: It is missing, damaged or no table network.
        RecipeError: Nothing here fits what was asked for.
        ToolError: The compiler failed.
    """
    place = Path(path)
    if runtime is not None and "@" in runtime:
        named, _, runtime = runtime.partition("@")
        if target not in (None, named):
            raise RecipeError(
                f"--target {target} and --runtime {named}@{runtime} differ",
                remedy="leave --target out",
            )
        target = named
    if place.is_dir():
        bundle = load(place)
        _require(MANIFEST_KEY in bundle.manifest, place)
        return _open(bundle, bundle.artifacts, target, runtime, threads)
    if not place.is_file():
        raise InputError(f"there is no file {place}", remedy="give a bundle or an artifact")
    found = artifact_in_bundle(place)
    if found is not None:
        bundle, artifact = found
        _require(MANIFEST_KEY in bundle.manifest, place)
        return _open(bundle, (artifact,), target, runtime, threads)
    _require(open_table_network(place) is not None, place)
    if target is not None or runtime not in (None, _ONNXRUNTIME):
        raise RecipeError(
            f"{place} is not part of a bundle, so onnxruntime runs it",
            remedy="leave --target and --runtime out, or convert it with --target c",
        )
    return OnnxRunner(_ONNXRUNTIME, place, threads)


def _open(
    bundle: Bundle,
    artifacts: tuple[Artifact, ...],
    target: str | None,
    runtime: str | None,
    threads: int,
) -> PlaneRunner:
    """Opens the first artifact and runtime, in the order of preference, that was asked for."""
    choices = [
        (artifact, found.name)
        for wanted in _PREFERRED
        for artifact in artifacts
        if artifact.target == wanted
        for found in bundle.opener(artifact).runtimes(artifact)
    ]
    for artifact, name in choices:
        # The name of a target stands for its first runtime, as for other artifacts.
        if target in (None, artifact.target) and runtime in (None, name, artifact.target):
            return _opened(bundle, artifact, name, threads)
    known = ", ".join(f"{artifact.target}@{name}" for artifact, name in choices)
    asked = "@".join(filter(None, (target, runtime)))
    raise RecipeError(
        f"nothing here runs {bundle.folder}" + (f" as {asked}" if asked else ""),
        remedy=f"known here: {known}" if known else "install a C compiler, or onnxruntime",
    )


def _opened(bundle: Bundle, artifact: Artifact, runtime: str, threads: int) -> PlaneRunner:
    name = f"{artifact.target}@{runtime}"
    if artifact.path.endswith(".onnx"):
        return OnnxRunner(name, bundle.folder / artifact.path, threads)
    session: Session = bundle.opener(artifact).open(artifact, bundle.folder, runtime)
    return LibraryRunner(name, session)


def _is_artifact(place: Path) -> bool:
    found = artifact_in_bundle(place)
    return found is not None and MANIFEST_KEY in found[0].manifest


def _require(found: bool, place: Path) -> None:
    if not found:
        raise InputError(
            f"{place} is not a table network, and only those run on picture files",
            remedy="give arrays (.npy or .npz), or a model that `intaglio fit` made",
        )
