"""``verify`` for a table network: every artifact against the definition in numpy, bit for bit.

The pictures are of many sizes, since edges and what does not fill a vector go wrong first. Where an
artifact can be run in bands on several threads, that is compared as well. An artifact of one size
gets every picture cut to it, repeated where it is smaller.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.picture_files import KINDS, find_pictures, named_like_picture, read_picture
from intaglio.passes.table_networks.facts import Network
from intaglio.passes.table_networks.read import read_network
from intaglio.progress import Progress
from intaglio.targets.base import Artifact, TensorSpec
from intaglio.verification.comparison import PairComparison
from intaglio.verification.inner_tensors import load_graph
from intaglio.verification.report import PairResult, VerifyReport
from intaglio.verification.runs import describe

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

#: What the definition is called in pairs.
DEFINITION = "numpy"

#: Height and width of the pictures that are made up.
SIZES = ((1, 1), (1, 9), (8, 1), (2, 2), (5, 3), (16, 16), (17, 31), (33, 65), (40, 130), (67, 24))

_SEED = 20240
_THREADS = 3
_INPUT, _OUTPUT = "image", "result"

Plane = NDArray[np.uint8]


def verify_table_network(
    bundle: Bundle,
    report: VerifyReport,
    inputs: str | Path | Mapping[str, NDArray[Any]] | None,
    samples: int | None,
    metric: str | None,
    progress: Progress,
) -> None:
    """Runs every artifact of a bundle that holds a table network, and adds to the report.

    Args:
        bundle: The bundle.
        report: What to add to.
        inputs: A picture, a folder of pictures (folders in it are searched, too), ``.npy``,
            ``.npz`` or arrays: uint8, [H, W] or [N, 1, H, W]; None for pictures that are made up.
        samples: Use only the first so many planes of them.
        metric: Must be None.
        progress: Listener.

    Raises:
        RecipeError: A metric was asked for.
        InputError: The inputs are missing, damaged or no pictures.
    """
    if metric is not None:
        raise RecipeError(
            "verify compares the bits of a table network; it has no metric",
            remedy="leave --metric out",
        )
    planes = list(_made_up() if inputs is None else itertools.islice(_given(inputs), samples))
    network = _definition(bundle)
    if network is None:
        report.failures.append("neither the model itself nor target onnx-integer is in the bundle")
        return
    sides = [side for artifact in bundle.artifacts for side in _sides(bundle, artifact)]
    if not any(side.artifact.target == "c" for side in sides):
        _say_what_is_missing(bundle, report)
    progress("verify", 0, len(planes))
    for done, plane in enumerate(planes, 1):
        expected = network.apply(plane)
        for side in sides:
            if side.size in (None, plane.shape):
                side.add(plane, expected, generated=inputs is None)
            else:
                fitted = _fitted(plane, side.size)
                side.add(fitted, network.apply(fitted), generated=inputs is None)
        progress("verify", done, len(planes))
    report.inputs = {
        "samples": 0 if inputs is None else len(planes),
        "generated": len(planes) if inputs is None else 0,
        "layers": 0,
    }
    for side in sides:
        result = side.pair.result()
        report.pairs.append(result)
        report.failures += _failure(result)


class _Side:
    """One artifact in one runtime, and how it compares."""

    def __init__(self, bundle: Bundle, artifact: Artifact, name: str, runtime: str | None) -> None:
        self.artifact = artifact
        spec = TensorSpec(_OUTPUT, ("N", 1, "H", "W"), "uint8")
        self.pair = PairComparison(
            name, DEFINITION, artifact.arithmetic, {_OUTPUT: (spec, spec)}, must_be_exact=True
        )
        sizes = artifact.inputs[0].shape[2:]
        #: Height and width that it takes; None for any.
        self.size = tuple(d for d in sizes if isinstance(d, int)) or None
        self._session: Any = None
        try:
            opener = bundle.opener(artifact)
            self._session = opener.open(artifact, bundle.folder, runtime)
        except Exception as error:
            # A runtime may raise anything on a file it cannot take; the others go on.
            self.pair.error = describe(error)

    def add(self, plane: Plane, expected: Plane, *, generated: bool) -> None:
        """Runs one plane."""
        if self.pair.error is not None:
            return
        try:
            found = self._session.run({_INPUT: plane[None, None]}).outputs[_OUTPUT]
            wanted = {_OUTPUT: expected[None, None]}
            self.pair.add({_OUTPUT: found}, wanted, generated=generated)
            if hasattr(self._session, "run_plane"):
                banded = self._session.run_plane(plane, threads=_THREADS)
                self.pair.add({_OUTPUT: banded[None, None]}, wanted, generated=generated)
        except Exception as error:
            # As above: whatever a runtime raises is a finding about this artifact.
            self.pair.error = describe(error)


def _fitted(plane: Plane, size: tuple[int, ...]) -> Plane:
    """A plane in another size: its upper left corner, repeated where it is smaller."""
    times = [-(-wanted // given) for wanted, given in zip(size, plane.shape, strict=True)]
    return np.ascontiguousarray(np.tile(plane, times)[: size[0], : size[1]])


def _sides(bundle: Bundle, artifact: Artifact) -> list[_Side]:
    # The model itself is the same file as that of onnx-integer.
    if artifact is bundle.reference and "onnx-integer" in bundle.targets:
        return []
    runtimes = bundle.opener(artifact).runtimes(artifact)
    return [
        _Side(
            bundle,
            artifact,
            artifact.target if len(runtimes) == 1 else f"{artifact.target}@{runtime.name}",
            runtime.name,
        )
        for runtime in runtimes
    ]


def _definition(bundle: Bundle) -> Network | None:
    """The network as the bundle's own model has it."""
    places = [bundle.reference, *(a for a in bundle.artifacts if a.target == "onnx-integer")]
    for artifact in filter(None, places):
        network = read_network(load_graph(bundle.folder / artifact.path))
        if network is not None:
            return network
    return None


def _say_what_is_missing(bundle: Bundle, report: VerifyReport) -> None:
    for artifact in bundle.artifacts:
        opener = bundle.opener(artifact)
        if not opener.runtimes(artifact):
            report.warnings.append(f"{artifact.target} was not run: {opener.why_not_run()}")


def _made_up() -> Iterator[Plane]:
    """Noise, flat pictures, ramps and waves of all sizes."""
    random = np.random.default_rng(_SEED)
    for number, (height, width) in enumerate(SIZES):
        yield random.integers(0, 256, (height, width)).astype(np.uint8)
        rows, columns = np.mgrid[:height, :width]
        kind = number % 4
        if kind == 0:
            yield np.full((height, width), 255 * (number % 8 == 0), np.uint8)
        elif kind == 1:
            yield (255 * ((rows // 3 + columns // 5) % 2)).astype(np.uint8)
        elif kind == 2:
            yield ((rows * 7 + columns * 3) % 256).astype(np.uint8)
        else:
            wave = np.sin(rows / 5) * np.cos(columns / 7)
            yield np.rint(127.5 + 127.5 * wave).astype(np.uint8)


def _given(inputs: str | Path | Mapping[str, NDArray[Any]]) -> Iterator[Plane]:
    if isinstance(inputs, Mapping):
        for name, array in inputs.items():
            yield from _planes_of(name, array)
        return
    place = Path(inputs)
    if not place.exists():
        raise InputError(f"there is no data at {place}", remedy="check the path of --inputs")
    if place.is_dir():
        files = find_pictures(place)
        if not files:
            raise InputError(f"there is no picture in {place}", remedy=f"{KINDS} are read")
        for file in files:
            yield from read_picture(file).planes
    elif named_like_picture(place):
        yield from read_picture(place).planes
    else:
        yield from _from_arrays(place)


def _from_arrays(place: Path) -> Iterator[Plane]:
    try:
        loaded = np.load(place, allow_pickle=False)
        arrays = {place.name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:
        raise InputError(
            f"{place} is neither a picture nor a readable .npy or .npz file: {error}",
            remedy="give a folder of pictures, a picture, or uint8 arrays",
        ) from error
    for name, array in arrays.items():
        yield from _planes_of(name, array)


def _planes_of(name: str, array: NDArray[Any]) -> Iterator[Plane]:
    found = np.asarray(array)
    if found.dtype != np.uint8 or found.ndim not in (2, 4) or found.size == 0:
        raise InputError(
            f"'{name}' is {found.dtype} {list(found.shape)}",
            remedy="a table network takes uint8 [H, W] or [N, 1, H, W]",
        )
    if found.ndim == 2:
        yield found
        return
    for image in found:
        yield from image


def _failure(pair: PairResult) -> list[str]:
    if pair.error is not None:
        return [f"{pair.artifact} cannot be compared with {pair.reference}: {pair.error}"]
    if pair.verdict != "exact":
        return [
            f"{pair.artifact} differs from {pair.reference} in {100 * pair.mismatch_fraction:.3g} "
            f"% of {pair.values} values, by up to {pair.max_error_lsb:g} LSB"
        ]
    return []
