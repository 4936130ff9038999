"""``run``: one artifact on arrays from files."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.bundle import MANIFEST, SOURCE_TARGET, Bundle, BundleSession, load
from intaglio.bundle_files import cannot_write, file_sha256
from intaglio.errors import InputError, RecipeError
from intaglio.registry import load_target
from intaglio.targets.base import Artifact, TensorSpec, spec_of
from intaglio.targets.reading import is_tflite

# Keys of data files that are no inputs.
_NOT_INPUTS = ("labels", "target")

# The target whose runtime opens any ONNX file.
_ONNX_RUNTIME = "onnx-qdq"

# Likewise for any TFLite file.
_TFLITE_RUNTIME = "tflite"


def open_runnable(
    path: str | Path,
    target: str | None = None,
    *,
    runtime: str | None = None,
    quantize_io: bool = False,
) -> BundleSession:
    """Opens a bundle, an artifact of a bundle, or any ONNX or TFLite file for running.

    Of a split bundle both parts are opened, with frames between them.

    Args:
        path: The folder or the file.
        target: Which artifact of a bundle; may be left out where there is one only. ``source`` is
            the float model.
        runtime: What runs it; the first of the target's runtimes if left out. The name of a
            target chooses that target.
        quantize_io: Take and give real values at integer inputs and outputs.

    Raises:
        InputError: There is nothing there, or it cannot be opened.
        RecipeError: It is not clear which artifact is meant.
    """
    place = Path(path)
    if place.is_dir():
        bundle = load(place)
        if target is None and runtime in (*bundle.targets, SOURCE_TARGET):
            target, runtime = runtime, None
        from intaglio.split_running import is_split, open_joined  # It runs parts in batches, too.

        if is_split(bundle) and target != SOURCE_TARGET:
            return open_joined(bundle, target, runtime=runtime, quantize_io=quantize_io)
        chosen = target or _only_target(bundle)
        return bundle.session(chosen, runtime=runtime, quantize_io=quantize_io)
    if not place.is_file():
        raise InputError(f"there is no file {place}", remedy="give a bundle or an artifact")
    found = artifact_in_bundle(place)
    if found is None:
        if target is not None:
            raise RecipeError(
                f"{place} is not part of a bundle, so there is no target to choose",
                remedy="leave --target out, or give the bundle's folder",
            )
        return _open_file(place, runtime, quantize_io)
    bundle, artifact = found
    if target not in (None, artifact.target):
        raise RecipeError(
            f"{place} is the artifact of target {artifact.target}, not of {target}",
            remedy="leave --target out, or give the bundle's folder",
        )
    return bundle.session(artifact.target, artifact.role, runtime=runtime, quantize_io=quantize_io)


def run_batched(
    session: BundleSession, inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Runs a session on any number of samples.

    Where the artifact, or what runs it, fixes the first dimension and the arrays hold a multiple
    of it, it is run several times and the outputs are joined.

    Args:
        session: An opened artifact.
        inputs: Array by input name.

    Returns:
        Array by output name.

    Raises:
        InputError: An input is missing, unknown, or has a wrong shape or dtype.
    """
    specs = session.artifact.inputs
    _check_counts(specs, inputs)
    size, runs = _rounds(specs, inputs)
    try:
        if runs > 1:
            return _run_parts(session, inputs, size, runs)
        return session.run(inputs)
    except InputError as error:
        for spec in specs:
            _check_order(spec, inputs.get(spec.name), error)
        # A dimension that is open in the file is not so in every runtime.
        single = tuple(
            dataclasses.replace(spec, shape=(1, *spec.shape[1:]))
            for spec in specs
            if spec.shape and isinstance(spec.shape[0], str)
        )
        size, runs = _rounds(single, inputs) if len(single) == len(specs) else (0, 1)
        if runs <= 1:
            raise
        try:
            return _run_parts(session, inputs, size, runs)
        except InputError:
            raise error from None


def _check_counts(specs: Sequence[TensorSpec], inputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuses inputs of different numbers of samples where these are to be the same."""
    counts: dict[str, tuple[str, int]] = {}
    for spec in specs:
        array = inputs.get(spec.name)
        first = spec.shape[0] if spec.shape else 1
        if array is None or not np.ndim(array) or isinstance(first, int) or first == "?":
            continue
        name, count = counts.setdefault(first, (spec.name, len(array)))
        if count != len(array):
            raise InputError(
                f"'{name}' has {count} samples, and '{spec.name}' has {len(array)}",
                remedy="give as many of each",
            )


def read_inputs(path: str | Path, specs: tuple[TensorSpec, ...]) -> dict[str, NDArray[Any]]:
    """Reads arrays for a model's inputs.

    Args:
        path: ``.npy`` for a model with one input, or ``.npz`` with a key for each (``labels`` and
            ``target`` are left out; a single array may have any key).
        specs: The inputs.

    Returns:
        Array by input name.

    Raises:
        InputError: The file is missing, damaged, or has other keys than the inputs.
    """
    place = Path(path)
    if place.is_dir():
        raise InputError(
            f"{place} is a folder",
            remedy="give an .npy or .npz file; `verify --inputs` takes folders",
        )
    if not place.is_file():
        raise InputError(f"there is no file {place}", remedy="check the path of --input")
    names = [spec.name for spec in specs]
    try:
        loaded = np.load(place, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {names[0] if len(names) == 1 else place.stem: loaded}
        else:
            with loaded as archive:
                arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{place} is not a readable .npy or .npz file: {error}",
            remedy="write it with numpy.save or numpy.savez",
        ) from error
    arrays = {n: x for n, x in arrays.items() if n in names or n not in _NOT_INPUTS}
    if len(arrays) == 1 and len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if set(arrays) != set(names):
        raise InputError(
            f"{place} holds {', '.join(sorted(arrays)) or 'nothing'}; "
            f"the inputs are {', '.join(names)}",
            remedy="give an .npz with one array for each input",
        )
    return arrays


def write_outputs(path: str | Path, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Writes outputs: one array as ``.npy``, or all by name as ``.npz``.

    Raises:
        RecipeError: The name ends in neither, or several outputs are to go into one ``.npy``.
        OutputError: The file cannot be written; what was there before is untouched.
    """
    place = Path(path)
    check_output_name(place, len(outputs))
    part = place.with_name(f".{place.name}.part")
    try:
        with part.open("wb") as stream:
            if place.suffix == ".npy":
                np.save(stream, next(iter(outputs.values())))
            else:
                np.savez(stream, allow_pickle=False, **outputs)
        part.replace(place)
    except OSError as error:
        raise cannot_write(place, error) from error
    finally:
        part.unlink(missing_ok=True)


def check_output_name(path: Path, outputs: int) -> None:
    """Refuses a file name that outputs cannot be written to.

    Raises:
        RecipeError: The name ends in neither ``.npy`` nor ``.npz``, or is ``.npy`` for several.
    """
    if path.suffix not in (".npy", ".npz"):
        raise RecipeError(f"--output {path} ends in neither .npy nor .npz", remedy="name it so")
    if path.suffix == ".npy" and outputs != 1:
        raise RecipeError(
            f"--output {path}: there are {outputs} outputs", remedy="write an .npz instead"
        )


def _only_target(bundle: Bundle) -> str:
    targets = bundle.targets
    if len(targets) != 1:
        raise RecipeError(
            f"bundle {bundle.folder} has artifacts of {', '.join(targets)}",
            remedy="choose one with --target",
        )
    return targets[0]


def artifact_in_bundle(path: Path) -> tuple[Bundle, Artifact] | None:
    """The bundle that a file is an artifact of, and the artifact; None where it is none."""
    place = path.resolve()
    for folder in place.parents:
        if (folder / MANIFEST).is_file():
            bundle = load(folder)
            name = place.relative_to(folder).as_posix()
            for artifact in bundle.artifacts:
                if artifact.path == name:
                    return bundle, artifact
            return None
    return None


def _open_file(path: Path, runtime: str | None, quantize_io: bool) -> BundleSession:
    """Opens a model file that is not part of a bundle, as it stands."""
    inputs, outputs = _tflite_border(path) if is_tflite(path) else _onnx_border(path)
    artifact = Artifact(
        role="model",
        target=_TFLITE_RUNTIME if is_tflite(path) else _ONNX_RUNTIME,
        path=path.name,
        arithmetic="float",
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        inputs=inputs,
        outputs=outputs,
    )
    session = load_target(artifact.target).open(artifact, path.parent, runtime)
    return BundleSession(artifact, session, quantize_io)


def _onnx_border(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    import onnx_ir as ir

    from intaglio.targets.onnx.read import parse

    graph = ir.serde.deserialize_model(parse(path)).graph
    inputs = [v for v in graph.inputs if str(v.name) not in graph.initializers]
    return tuple(map(spec_of, inputs)), tuple(map(spec_of, graph.outputs))


def _tflite_border(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    from intaglio.targets.tflite.border import read_border

    return read_border(path)


def _run_parts(
    session: BundleSession, inputs: Mapping[str, NDArray[Any]], size: int, runs: int
) -> dict[str, NDArray[Any]]:
    parts = [
        session.run({name: x[i * size : (i + 1) * size] for name, x in inputs.items()})
        for i in range(runs)
    ]
    return {name: np.concatenate([np.atleast_1d(p[name]) for p in parts]) for name in parts[0]}


def _check_order(spec: TensorSpec, array: NDArray[Any] | None, error: InputError) -> None:
    """Says so where an input was refused because its channels stand at the other end."""
    if array is None or array.ndim != 4 or len(spec.shape) != 4:
        return
    wanted, given = spec.shape[1:], array.shape[1:]
    for order, found in (((0, 2, 3, 1), "first"), ((0, 3, 1, 2), "last")):
        moved = tuple(array.shape[axis] for axis in order[1:])
        if moved == wanted and given != wanted:
            shapes = ["×".join(map(str, ("N", *dims))) for dims in (given, wanted)]
            raise InputError(
                f"input '{spec.name}' takes {shapes[1]}; the array is {shapes[0]}",
                remedy=f"channels are {found} in it: transpose it by {order}",
            ) from error


def _rounds(specs: tuple[TensorSpec, ...], inputs: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """Samples a run and number of runs; one run where the shapes are not for splitting."""
    sizes, counts = set(), set()
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None or array.ndim != len(spec.shape) or not spec.shape:
            return 0, 1
        first = spec.shape[0]
        if not isinstance(first, int) or first < 1 or len(array) % first or not len(array):
            return 0, 1
        sizes.add(first)
        counts.add(len(array) // first)
    if len(sizes) != 1 or len(counts) != 1:
        return 0, 1
    return sizes.pop(), counts.pop()
