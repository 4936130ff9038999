"""Bundles: the folder that ``convert`` writes, as an object.

A bundle holds ``manifest.json``, the artifacts of each target in a folder of the target's name,
and beside them the float model (``source/model.onnx``), the calibration samples that ``verify``
uses, the quantization plan and the reports. How it gets onto the disk is in
``bundle_files``.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.bundle_files import cannot_write, file_sha256, list_files, read_json
from intaglio.errors import InputError, RecipeError, VerificationError
from intaglio.registry import load_target
from intaglio.targets.base import Artifact, RunResult, Session, Target, Tensors, TensorSpec
from intaglio.transforms.scales import TensorQuantization

if TYPE_CHECKING:
    from intaglio.pipeline import StepRecord

SCHEMA = 1
MANIFEST = "manifest.json"
REPORT_JSON = "report.json"
SAMPLES = "samples.npz"
PLAN = "plan.json"

#: The quantized form that training artifacts were made from: what adapted weights go into.
QUANTIZED = "quantized.onnx"

#: Role of the float model that accuracy is measured against, and the name of its folder.
REFERENCE_ROLE = "reference"
SOURCE_TARGET = "source"

#: Files that may stand in a bundle without being listed in its manifest.
UNLISTED = frozenset({MANIFEST, "report.html", "verify.json"})

#: Name of the source file itself where it is no ONNX file, kept beside the float model.
ORIGINAL_TARGET = "original"

# Artifacts that no target wrote, and the target whose runtimes open them.
_OPENERS = {SOURCE_TARGET: "onnx-qdq", ORIGINAL_TARGET: "tflite"}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What a conversion cost and found; known to the process that made the bundle only.

    Attributes:
        seconds: Wall time.
        peak_memory_bytes: Largest resident size of the process so far, None where unknown.
        records: Evidence of every step.
        facts: Facts of the steps, by step name.
    """

    seconds: float
    peak_memory_bytes: int | None
    records: tuple[StepRecord, ...]
    facts: dict[str, Any]


class BundleSession:
    """An artifact of a bundle, opened for running.

    Args:
        artifact: What was opened.
        session: The target's session.
        quantize_io: Take float arrays for quantized inputs and give float outputs.
    """

    def __init__(self, artifact: Artifact, session: Session, quantize_io: bool = False) -> None:
        self.artifact = artifact
        self._session = session
        self._quantize_io = quantize_io

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Runs the artifact.

        Args:
            inputs: Array by input name, in the artifact's dtype and layout; with ``quantize_io``
                floats are quantized by the input's scale and zero point.

        Returns:
            Array by output name; with ``quantize_io`` real values in float32.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype, or NaN.
        """
        return self.run_inner(inputs, ()).outputs

    def run_inner(self, inputs: Tensors, inner: Sequence[str]) -> RunResult:
        """Runs the artifact and returns inner tensors too, where the runtime gives them.

        Args:
            inputs: As for :meth:`run`.
            inner: Names of the inner tensors.

        Returns:
            Outputs and inner tensors (these as they are, never dequantized).
        """
        specs = {spec.name: spec for spec in self.artifact.inputs}
        if not self._quantize_io:
            _refuse_real(inputs, specs)
            return self._session.run(inputs, inner=inner)
        quantized = {name: _to_integers(x, specs.get(name)) for name, x in inputs.items()}
        result = self._session.run(quantized, inner=inner)
        by_name = {spec.name: spec for spec in self.artifact.outputs}
        outputs = {name: _to_real(x, by_name.get(name)) for name, x in result.outputs.items()}
        return RunResult(outputs, result.inner)


class Bundle:
    """A converted model on disk.

    Args:
        folder: The bundle's folder.
        manifest: Its manifest.
        conversion: What the conversion cost, if it was made by this process.
    """

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], conversion: Conversion | None = None
    ) -> None:
        self.folder = folder
        self.manifest = dict(manifest)
        self.conversion = conversion
        self.artifacts = tuple(Artifact.from_dict(a) for a in manifest["artifacts"])

    def __repr__(self) -> str:
        return f"Bundle({str(self.folder)!r}, targets={self.targets!r})"

    @property
    def targets(self) -> list[str]:
        """Names of the targets that the bundle has artifacts of, in order."""
        return list(dict.fromkeys(a.target for a in self.artifacts if a.target not in _OPENERS))

    @property
    def reference(self) -> Artifact | None:
        """The float model, or None where the bundle does not keep it."""
        return next((a for a in self.artifacts if a.role == REFERENCE_ROLE), None)

    def artifact(self, target: str, role: str = "model") -> Artifact:
        """The artifact of a target; ``source`` is the float model.

        In a bundle that trains, ``model`` is the inference (role ``infer``).

        Raises:
            RecipeError: The bundle has none.
        """
        if target == SOURCE_TARGET:
            role = REFERENCE_ROLE
        roles = (role, "infer") if role == "model" else (role,)
        for found in self.artifacts:
            if found.target == target and found.role in roles:
                return found
        known = ", ".join(f"{a.target} ({a.role})" for a in self.artifacts)
        raise RecipeError(
            f"bundle {self.folder} has no artifact of target '{target}' with role '{role}'",
            remedy=f"it has {known}",
        )

    def session(
        self,
        target: str,
        role: str = "model",
        *,
        runtime: str | None = None,
        quantize_io: bool = False,
    ) -> BundleSession:
        """Opens an artifact for running.

        Args:
            target: Name of the target; ``source`` is the float model.
            role: Role of the artifact.
            runtime: One of the target's runtimes; None for the one it prefers.
            quantize_io: Take and give real values at integer inputs and outputs.

        Raises:
            RecipeError: The bundle has no such artifact, or nothing of that name runs it here.
            InputError: The artifact's file is missing or damaged.
            ToolError: The runtime failed.
        """
        artifact = self.artifact(target, role)
        session = self.opener(artifact).open(artifact, self.folder, runtime)
        return BundleSession(artifact, session, quantize_io)

    def opener(self, artifact: Artifact) -> Target:
        """The target that can open and measure ``artifact``."""
        return load_target(_OPENERS.get(artifact.target, artifact.target))

    def samples(self) -> dict[str, NDArray[Any]]:
        """The calibration samples kept in the bundle, and ``labels`` and ``target`` if known.

        Returns:
            Array by input name, first axis counting samples; empty where none are kept.

        Raises:
            InputError: The file is damaged.
        """
        path = self.folder / SAMPLES
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is damaged: {error}", remedy="convert the model again"
            ) from error

    def plan(self) -> dict[str, Any] | None:
        """The quantization plan as written, or None where there was nothing to plan."""
        path = self.folder / PLAN
        return read_json(path) if path.exists() else None

    def report(self) -> dict[str, Any]:
        """The evidence of every step (``report.json``)."""
        return read_json(self.folder / REPORT_JSON)

    def check_hashes(self) -> None:
        """Compares every file with the hash in the manifest.

        Raises:
            VerificationError: Files are missing or differ; the message lists them.
        """
        expected = {a.path: a.sha256 for a in self.artifacts}
        expected.update(self.manifest.get("files", {}))
        wrong = []
        for name, digest in sorted(expected.items()):
            path = self.folder / name
            if not path.is_file():
                wrong.append(f"{name} is missing")
            elif file_sha256(path) != digest:
                wrong.append(f"{name} has changed")
        if wrong:
            raise VerificationError(
                f"bundle {self.folder} is not what its manifest says: {'; '.join(wrong)}",
                remedy="convert the model again, or restore the files",
            )


def load(path: str | Path) -> Bundle:
    """Opens a bundle.

    Args:
        path: The folder that ``convert`` wrote.

    Returns:
        The bundle; its files are not checked, see :meth:`Bundle.check_hashes`.

    Raises:
        InputError: There is no bundle there, or its manifest is damaged or of another schema.
    """
    folder = Path(path)
    remedy = "give the folder that `intaglio convert --out` wrote"
    if not folder.exists():
        raise InputError(f"there is no bundle at {folder}", remedy=remedy)
    if not folder.is_dir() or not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is not a bundle: it has no {MANIFEST}", remedy=remedy)
    manifest = read_json(folder / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise InputError(
            f"{folder / MANIFEST} has schema {manifest.get('schema')!r}, "
            f"this version reads {SCHEMA}",
            remedy="convert the model again with this version",
        )
    try:
        return Bundle(folder, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / MANIFEST} is damaged: {type(error).__name__}: {error}",
            remedy="convert the model again",
        ) from error


def check_output(out: Path) -> None:
    """Refuses an output path that cannot become a bundle, before any work is done.

    Args:
        out: Where the bundle is to stand.

    Raises:
        RecipeError: It is a file, or a folder with other things in it than a bundle.
        OutputError: It cannot be read.
    """
    other = "choose another folder with --out"
    try:
        if not out.exists():
            parent = next(p for p in out.absolute().parents if p.exists())
            if not parent.is_dir():
                raise RecipeError(f"--out {out}: {parent} is a file", remedy=other)
            return
        if not out.is_dir():
            raise RecipeError(f"--out {out} is a file", remedy=other)
        if not any(out.iterdir()):
            return
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        found = load(out)
    except InputError as error:
        raise RecipeError(
            f"--out {out} is a folder with other things in it, and would be replaced",
            remedy=other,
        ) from error
    foreign = _foreign_files(found)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise RecipeError(
            f"--out {out} is a bundle with a file that is not part of it: {foreign[0]}{more}",
            remedy="move that away (the folder is replaced as a whole), or " + other,
        )


def _refuse_real(inputs: Tensors, specs: Mapping[str, TensorSpec]) -> None:
    for name, array in inputs.items():
        spec = specs.get(name)
        real = np.issubdtype(np.asarray(array).dtype, np.floating)
        if real and spec is not None and spec.scale is not None:
            raise InputError(
                f"input '{name}' takes {spec.dtype} (scale {spec.scale:g}, zero point "
                f"{spec.zero_point}), not real values",
                remedy="quantize them, or have it done with --quantize-io (quantize_io=True)",
            )


def _to_integers(array: NDArray[Any], spec: TensorSpec | None) -> NDArray[Any]:
    values = np.asarray(array)
    if spec is None or spec.scale is None or not np.issubdtype(values.dtype, np.floating):
        return values
    try:
        return _quantization(spec).quantize(values)
    except ValueError as error:
        raise InputError(f"input '{spec.name}': {error}", remedy="give finite values") from error


def _to_real(array: NDArray[Any], spec: TensorSpec | None) -> NDArray[Any]:
    if spec is None or spec.scale is None or not np.issubdtype(array.dtype, np.integer):
        return array
    return _quantization(spec).dequantize(array)


def _quantization(spec: TensorSpec) -> TensorQuantization:
    return TensorQuantization(spec.dtype, (float(spec.scale or 0),), (spec.zero_point or 0,))


def _foreign_files(bundle: Bundle) -> list[str]:
    known = {a.path for a in bundle.artifacts} | set(bundle.manifest.get("files", {})) | UNLISTED
    return [name for name in list_files(bundle.folder) if name not in known]
