"""Running the artifacts of a bundle side by side on the same inputs.

Inputs are quantized here, once and for all artifacts alike: an integer border gets the integers, a
float border the real values of the same integers, so that its own QuantizeLinear finds exactly
those again. The float source alone gets the inputs as they are. Outputs come back in the source's
layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.border import border_quantization
from intaglio.bundle import ORIGINAL_TARGET
from intaglio.errors import InputError, IntaglioError
from intaglio.targets.base import Artifact, RunResult, Runtime, Tensors, TensorSpec
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.comparison import quantization_of
from intaglio.verification.inner_tensors import load_graph
from intaglio.verification.report import SOURCE

if TYPE_CHECKING:
    from intaglio.bundle import Bundle, BundleSession

Quantizations = Mapping[str, TensorQuantization]


class Side:
    """One artifact in one runtime; it remembers its first error and is not run again after it.

    Args:
        bundle: The bundle.
        artifact: The artifact.
        name: What to call it.
        source_specs: Inputs and outputs of the source by name, for their layouts.
        runtime: What runs it; None for the only one there is.

    Attributes:
        arithmetic: What the runtime computes on the artifact.
        error: Why it cannot be run, or None.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        name: str,
        source_specs: Mapping[str, TensorSpec],
        runtime: Runtime | None = None,
    ) -> None:
        self.artifact = artifact
        self.name = name
        self.arithmetic = artifact.arithmetic if runtime is None else runtime.arithmetic
        self.error: str | None = None
        self._source_specs = source_specs
        self._session: BundleSession | None = None
        try:
            chosen = None if runtime is None else runtime.name
            self._session = bundle.session(artifact.target, artifact.role, runtime=chosen)
        except Exception as error:
            # A runtime may raise anything on a file it cannot take; the others go on.
            self.error = describe(error)

    @property
    def is_source(self) -> bool:
        """Whether this is the float model."""
        return self.name == SOURCE

    @property
    def must_run(self) -> bool:
        """Whether it is a failure if it cannot be run.

        It is not for a runtime of another arithmetic, which may lack an operator, nor for a file
        that was not written here.
        """
        own = self.artifact.target != ORIGINAL_TARGET
        return own and self.arithmetic == self.artifact.arithmetic

    @property
    def output_specs(self) -> dict[str, TensorSpec]:
        """Specs of the outputs by name."""
        return {spec.name: spec for spec in self.artifact.outputs}

    def run(
        self, inputs: Tensors, quantizations: Quantizations, inner: Sequence[str] = ()
    ) -> RunResult | None:
        """Runs one batch.

        Args:
            inputs: Array by input name, as the source takes them.
            quantizations: How the artifacts quantize their inputs.
            inner: Inner tensors to return too.

        Returns:
            The outputs in the source's layout, or None where there is an :attr:`error`.

        Raises:
            InputError: The source refuses the inputs: they do not fit the model.
        """
        if self._session is None or self.error is not None:
            return None
        try:
            found = self._session.run_inner(self.feed(inputs, quantizations), inner)
        except InputError as error:
            if self.is_source:
                raise
            self.error = describe(error)
            return None
        except Exception as error:
            # As above: whatever a runtime raises is a finding about this artifact.
            self.error = describe(error)
            return None
        missing = [name for name in self.output_specs if name not in found.outputs]
        if missing:
            self.error = f"it gives no output '{missing[0]}'"
            return None
        outputs = {
            name: self._from_layout(found.outputs[name], spec)
            for name, spec in self.output_specs.items()
        }
        return RunResult(outputs, found.inner)

    def can_run(self, inputs: Tensors, quantizations: Quantizations, count: int) -> bool:
        """Whether a batch of ``count`` samples gives outputs of so many; nothing is remembered."""
        if self.error is not None:
            return True  # It is not run anyway.
        result = self.run(inputs, quantizations)
        self.error = None
        return result is not None and all(
            array.ndim > 0 and array.shape[0] == count for array in result.outputs.values()
        )

    def feed(self, inputs: Tensors, quantizations: Quantizations) -> dict[str, NDArray[Any]]:
        """The inputs in the artifact's own dtype and layout."""
        return {
            spec.name: self._converted(inputs[spec.name], spec, quantizations)
            for spec in self.artifact.inputs
        }

    def _converted(
        self, array: NDArray[Any], spec: TensorSpec, quantizations: Quantizations
    ) -> NDArray[Any]:
        if self.is_source:
            return array
        own = quantization_of(spec)
        given = self._given(spec)
        if own is not None and given not in (None, own):
            array = given.dequantize(array)  # uint8 there is int8 here.
        if own is not None:
            array = own.quantize(array) if array.dtype.kind == "f" else array
        elif given is not None and np.dtype(spec.dtype).kind == "f" and array.dtype.kind != "f":
            array = given.dequantize(array)  # A border that was made float.
        elif spec.name in quantizations and array.dtype.kind == "f":
            known = quantizations[spec.name]
            array = known.dequantize(known.quantize(array))
        array = array.astype(spec.dtype, copy=False)
        if self._differs(spec):
            array = np.ascontiguousarray(_reordered(array, spec.layout))
        return array

    def _given(self, spec: TensorSpec) -> TensorQuantization | None:
        """The quantization of the integers that the source takes for an input."""
        source = self._source_specs.get(spec.name)
        return None if source is None else quantization_of(source)

    def _from_layout(self, array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
        if not self._differs(spec):
            return array
        return _reordered(array, self._source_specs[spec.name].layout)

    def _differs(self, spec: TensorSpec) -> bool:
        """Whether the channels stand elsewhere here than in the source."""
        other = self._source_specs.get(spec.name)
        layouts = {spec.layout, other.layout if other is not None else spec.layout}
        return layouts == {"NCHW", "NHWC"}


def input_quantizations(bundle: Bundle, artifacts: Sequence[Artifact]) -> Quantizations:
    """How the artifacts quantize their inputs and outputs, by name.

    From the manifest where a border is integer, else from the QuantizeLinear and DequantizeLinear
    at the border of the ONNX artifacts.
    """
    found: dict[str, TensorQuantization] = {}
    for artifact in artifacts:
        for spec in (*artifact.inputs, *artifact.outputs):
            quantization = quantization_of(spec)
            if quantization is not None:
                found.setdefault(spec.name, quantization)
    for artifact in artifacts:
        names = {spec.name for spec in (*artifact.inputs, *artifact.outputs)}
        if artifact.path.endswith(".onnx") and not names <= set(found):
            try:
                model = load_graph(bundle.folder / artifact.path)
            except InputError:
                continue  # Opening it for running reports that.
            for name, quantization in border_quantization(model).items():
                found.setdefault(name, quantization)
    for name, stated in _planned(bundle).items():
        found.setdefault(name, stated)
    return found


def _planned(bundle: Bundle) -> dict[str, TensorQuantization]:
    """What the plan says of tensors, by name; of use where formats do not say it at the border."""
    try:
        tensors = (bundle.plan() or {}).get("tensors", {})
        return {
            name: TensorQuantization.from_dict(note["quantization"])
            for name, note in tensors.items()
            if note["quantization"] is not None
        }
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # A damaged plan matters to whoever replays it.


def describe(error: Exception) -> str:
    """An error in one line; the type is named where the message alone may say little."""
    if isinstance(error, IntaglioError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {text[:300]}"


def _reordered(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """A rank 4 array in ``layout``, from the other one."""
    return np.transpose(array, (0, 2, 3, 1) if layout == "NHWC" else (0, 3, 1, 2))
