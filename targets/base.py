"""What a target is: the contract between the pipeline and a runtime's file format."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from intaglio.errors import RecipeError, Refusal
from intaglio.passes.annotations import get_layout

if TYPE_CHECKING:
    from intaglio.targets.training import Stepper

Tensors = Mapping[str, NDArray[Any]]

#: Form of a model in which tables stand among the source's own float operators.
TABLES = "tables"

#: Arithmetic of such a model: every output has the bits that the source gives.
SOURCE_ARITHMETIC = "source"


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of an artifact.

    Attributes:
        name: Tensor name, that of the source model.
        shape: Dimensions; a string is a symbolic dimension.
        dtype: numpy name of the element type.
        layout: ``NCHW``, ``NHWC`` or ``""`` where it means nothing.
        scale: Scale of a quantized tensor, None for raw values.
        zero_point: Zero point of a quantized tensor, None for raw values.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str = ""
    scale: float | None = None
    zero_point: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the spec as JSON-friendly data."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorSpec:
        """Reads what :meth:`to_dict` wrote."""
        return cls(**{**data, "shape": tuple(data["shape"])})


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A file that a target wrote.

    Attributes:
        role: ``model``, ``device``, ``server``, ``infer``, ``train_step``.
        target: Name of the target that wrote it.
        path: Path relative to the bundle folder, with forward slashes.
        arithmetic: Profile (``tflm``, ``litert``, ``tosa-single``), ``float``, or ``source``: the
            bits that the source gives.
        sha256: Hash of the file's bytes, in hex.
        bytes: Size of the file.
        inputs: Inputs in order.
        outputs: Outputs in order.
    """

    role: str
    target: str
    path: str
    arithmetic: str
    sha256: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the artifact as JSON-friendly data."""
        return {
            **dataclasses.asdict(self),
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Artifact:
        """Reads what :meth:`to_dict` wrote."""
        specs = {key: tuple(TensorSpec.from_dict(s) for s in data[key]) for key in _SPEC_KEYS}
        return cls(**{**data, **specs})


_SPEC_KEYS = ("inputs", "outputs")


@dataclasses.dataclass(frozen=True)
class Capability:
    """One row of a target's capability table.

    Attributes:
        operator: Operator type as in ONNX, or the name of one of our functions.
        dtypes: Element types it takes.
        constraint: Condition in words; empty when there is none.
        source: The kernel or specification that the row was read from.
    """

    operator: str
    dtypes: tuple[str, ...]
    constraint: str
    source: str


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measured figure and how it was got."""

    name: str
    value: float
    unit: str
    how: str


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Something installed here that runs a target's artifacts.

    Attributes:
        name: As in ``--runtime``: ``onnxruntime``, ``tflm``, ``litert-reference``.
        arithmetic: What it computes on the artifact: a profile, or ``float``.
    """

    name: str
    arithmetic: str


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run gave: outputs, and inner tensors where the runtime gives them."""

    outputs: dict[str, NDArray[Any]]
    inner: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a target gets to emit.

    Attributes:
        models: Model by role, already through the target's ``prepare`` passes.
        profile: Arithmetic profile of the integer form.
        form: ``quantized`` (QuantizeLinear/DequantizeLinear), ``integer`` or ``tables`` (tables
            among the source's own float operators).
        inputs: Specs of the model's border by role: quantization known to the plan.
        outputs: Likewise.
        name: What the model is called: the stem of its file.
        parameters: Where something trains, the numbers that it starts from, by parameter and in
            the layout of the model ``train_step``; else empty.
    """

    models: Mapping[str, ir.Model]
    profile: str
    form: str
    inputs: Mapping[str, Sequence[TensorSpec]]
    outputs: Mapping[str, Sequence[TensorSpec]]
    name: str = "model"
    parameters: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)


class Session(abc.ABC):
    """An opened artifact that can be run many times."""

    @abc.abstractmethod
    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the artifact.

        Args:
            inputs: Array by input name, in the artifact's own dtype and layout.
            inner: Names of inner tensors to return too (only where the runtime can).

        Returns:
            Outputs by name, and the inner tensors asked for that exist.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype.
        """


class TargetConfig(BaseModel):
    """Typed, frozen options of a target; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(abc.ABC):
    """A runtime's file format.

    Args:
        config: Options (``--set target.option=value``); None for the defaults.

    Class attributes:
        name: Stable name as in ``--target``.
        prepare: Dotted names of the passes the pipeline runs for this target first.
        form: Form the target emits from: ``quantized`` or ``integer``.
        exact: Whether its runtime computes the profile's arithmetic bit for bit.
        Config: Class of the options.
        needs: What must be installed to run its artifacts, in words; empty where nothing helps.
        trains: Whether it emits training steps: the roles ``infer`` and ``train_step``.
        infers: Whether it emits role ``infer`` of a bundle that trains elsewhere.
        step_passes: Passes that the model of role ``train_step`` goes through behind ``prepare``.
    """

    name: ClassVar[str]
    trains: ClassVar[bool] = False
    infers: ClassVar[bool] = False
    step_passes: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    prepare: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[str]
    exact: ClassVar[bool]
    Config: ClassVar[type[TargetConfig]] = TargetConfig

    def __init__(self, config: TargetConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    def require_tools(self) -> None:  # noqa: B027 - most targets need none
        """Looks for the outside tools that :meth:`emit` needs; called before any work is done.

        Raises:
            ToolError: One is missing or too old.
        """

    @abc.abstractmethod
    def capabilities(self) -> Sequence[Capability]:
        """The operators the target takes; generates the documentation."""

    @abc.abstractmethod
    def check(self, prepared: Prepared) -> list[Refusal]:
        """Every node the target cannot take, before anything is written."""

    @abc.abstractmethod
    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes the artifact files below ``out`` / ``name``; same input, same bytes."""

    def why_not_run(self) -> str:
        """Why :meth:`runtimes` is empty, for a sentence."""
        return "nothing installed here runs it" + (f"; it needs {self.needs}" if self.needs else "")

    def runtimes(self, artifact: Artifact) -> Sequence[Runtime]:
        """The runtimes installed here that run ``artifact``, the one to prefer first.

        Empty where there is none: the artifact is then for a device, and ``open`` says so.
        """
        return (Runtime("onnxruntime", artifact.arithmetic),)

    @abc.abstractmethod
    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Opens an artifact of a bundle folder for running.

        Args:
            artifact: The artifact.
            folder: The bundle's folder.
            runtime: Name of one of :meth:`runtimes`; None for the first.

        Raises:
            RecipeError: There is no such runtime for this artifact.
            InputError: The file is missing or damaged.
            ToolError: The runtime failed.
        """

    def open_stepper(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Stepper:
        """Opens the training step of a bundle folder, at the weights that training starts from.

        Args:
            artifact: The artifact with role ``train_step``.
            folder: The bundle's folder.
            runtime: Name of one of :meth:`runtimes`; None for the first.

        Raises:
            RecipeError: The target does not train, or there is no such runtime.
            InputError: A file is missing or damaged.
            ToolError: The runtime failed.
        """
        raise RecipeError(
            f"target {self.name} does not train", remedy="use onnx-integer or c for training"
        )

    def check_runtime(self, artifact: Artifact, runtime: str | None) -> None:
        """Refuses a runtime that does not run ``artifact``.

        Raises:
            RecipeError: It is none of :meth:`runtimes`.
        """
        known = [found.name for found in self.runtimes(artifact)]
        if runtime is not None and runtime not in known:
            raise RecipeError(
                f"'{runtime}' does not run artifacts of target {self.name} here",
                remedy=f"known here: {', '.join(known)}" if known else "nothing here runs them",
            )

    @abc.abstractmethod
    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Bytes, memory, latency: each with how it was got."""

    def inner_tensors(self, artifact: Artifact, folder: Path) -> Mapping[str, str]:
        """The source value that each inner tensor stands for, which sessions give besides outputs.

        Empty where sessions give none, or the artifact itself says it (ONNX files do).
        """
        return {}

    def report(self, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
        """What the target's tools said about an artifact, as JSON-friendly data; may be empty.

        Raises:
            InputError: It is missing from the bundle, or damaged.
        """
        return {}


def static_specs(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The specs with an open first dimension bound to one, for formats that state every size."""
    return tuple(
        dataclasses.replace(spec, shape=tuple(d if isinstance(d, int) else 1 for d in spec.shape))
        for spec in specs
    )


def spec_of(
    value: ir.Value, scale: float | None = None, zero_point: int | None = None
) -> TensorSpec:
    """Describes a graph input or output.

    Args:
        value: The graph's value.
        scale: Scale, where the value holds quantized integers.
        zero_point: Zero point likewise.

    Returns:
        Its spec; unknown dimensions show as ``"?"``.
    """
    shape: tuple[int | str, ...] = ()
    if value.shape is not None:
        shape = tuple(
            d if isinstance(d, int) else (str(d.value) if d.value is not None else "?")
            for d in value.shape
        )
    dtype = np.dtype(value.dtype.numpy()).name if value.dtype is not None else "unknown"
    return TensorSpec(str(value.name), shape, dtype, get_layout(value), scale, zero_point)
