"""The artifacts of one role, run side by side and compared: pairs, accuracy, layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.passes.marks import is_quantized
from intaglio.progress import Progress
from intaglio.split_parts import DEVICE, UNSPLIT
from intaglio.targets.base import Artifact, RunResult, TensorSpec
from intaglio.verification.accuracy import Accuracy, choose_metric
from intaglio.verification.comparison import PairComparison, to_real
from intaglio.verification.inner_tensors import inner_tensors, load_graph, source_values
from intaglio.verification.inputs import Batch, Coverage, VerifyInputs, open_inputs
from intaglio.verification.layers import LayerComparison, rank_layers
from intaglio.verification.report import SOURCE, PairResult, VerifyReport
from intaglio.verification.runs import Side, input_quantizations
from intaglio.verification.taps import TapComparison

if TYPE_CHECKING:
    from intaglio.bundle import Bundle
    from intaglio.fitting.data import CalibrationData

#: The artifact that all others of its arithmetic must equal.
REFERENCE_TARGET = "onnx-integer"

#: Inner tensors are compared on the first so many real samples.
LAYER_SAMPLES = 128

_NO_SAMPLES = "no real samples: run on generated inputs only, which say little about accuracy"

Data = str | Path | Mapping[str, NDArray[Any]]


class RoleRun:
    """The comparison of all artifacts of one role (``model``, ``device``, ...)."""

    def __init__(self, bundle: Bundle, role: str, report: VerifyReport, several: bool) -> None:
        self._bundle = bundle
        self._report = report
        self._prefix = f"{role}/" if several else ""
        self._role = role
        self._golden = UNSPLIT if role == UNSPLIT else self._prefix + REFERENCE_TARGET
        self._artifacts = [a for a in bundle.artifacts if a.role == role]
        # The float model is the whole one; parts of it have no float counterpart. The device's
        # part takes what the whole model takes, though.
        self._whole = role in ("model", "infer", UNSPLIT)
        self._source = bundle.reference if self._whole else None
        self._border = bundle.reference if role == DEVICE else self._source
        self._specs = source_inputs(self._border, self._artifacts[0])
        self._quantizations = input_quantizations(bundle, self._artifacts)

    def open(self, inputs: Data | None, samples: int | None, metric: str | None) -> None:
        """Opens the inputs and the artifacts.

        Raises:
            RecipeError: The metric does not fit the data.
            InputError: The data does not fit the model.
        """
        self._inputs = VerifyInputs(
            self._specs,
            self._quantizations,
            self._data(inputs),
            limit=samples,
            generate=inputs is None,
        )
        self._coverage = Coverage(self._specs)
        chosen = choose_metric(metric, self._inputs.has_labels, self._inputs.has_targets)
        self._accuracy = Accuracy(chosen)
        self._report.metric = chosen
        specs = border_of(self._border, self._artifacts[0])
        self._sides = [
            side for artifact in self._artifacts for side in self._opened(artifact, specs)
        ]
        if self._source is not None:
            self._sides.append(Side(self._bundle, self._source, SOURCE, specs))
        elif self._border is None:
            self._report.warnings.append(
                "the bundle does not keep the float model: artifacts are compared with each "
                "other only"
            )

    def _opened(self, artifact: Artifact, specs: Mapping[str, TensorSpec]) -> list[Side]:
        """One side for each runtime that an artifact has here."""
        is_golden = artifact.target == REFERENCE_TARGET
        name = self._golden if is_golden else self._prefix + artifact.target
        runtimes = self._bundle.opener(artifact).runtimes(artifact)
        if not runtimes:
            why = self._bundle.opener(artifact).why_not_run()
            self._report.warnings.append(f"{name} was not run: {why}")
        return [
            Side(
                self._bundle,
                artifact,
                name if len(runtimes) == 1 else f"{name}@{runtime.name}",
                specs,
                runtime,
            )
            for runtime in runtimes
        ]

    def _warn_of_no_reference(self) -> None:
        """Says so where nothing tells whether an artifact has the right bits."""
        if self._role == DEVICE:
            return  # Codes have a definition in numpy.
        golden = self._golden
        names = {side.name for side in self._sides}
        alone = {a.target for a in self._artifacts if self._bundle.opener(a).exact}
        if golden not in names and alone - {REFERENCE_TARGET}:
            self._report.warnings.append(
                f"no bits were compared: the bundle has no {REFERENCE_TARGET}; convert with "
                f"--target {REFERENCE_TARGET}, too"
            )

    def compare(self, progress: Progress, layers: bool) -> None:
        """Runs everything and adds what it finds to the report."""
        by_name = {side.name: side for side in self._sides}
        pairs = self._pairs(by_name)
        self._warn_of_no_reference()
        inner = self._layer_comparisons() if layers and self._source is not None else {}
        taps = self._tap_comparisons(pairs) if layers else []
        total = self._inputs.real + self._inputs.generated
        done = layer_samples = 0
        progress("verify", done, total)
        for batch in self._inputs.batches(self._batch_size()):
            found = {s.name: s.run(batch.inputs, self._quantizations) for s in self._sides}
            for pair in pairs:
                _add_pair(pair, by_name, found, batch.generated)
            if not batch.generated:
                if self._whole:
                    self._add_accuracy(found, batch)
                self._coverage.add(batch.inputs)
            # Random inputs leave the ranges that were calibrated; they count for layers only
            # where there are no others.
            if batch.generated == (self._inputs.real == 0) and layer_samples < LAYER_SAMPLES:
                self._add_layers(inner, batch)
                self._add_taps(taps, by_name, batch)
                layer_samples += batch.count
            done += batch.count
            progress("verify", min(done, total), total)
        taps = [tap for tap in taps if _ran(by_name, tap.artifact, tap.reference)]
        self._report.inner += [tap.result() for tap in taps]
        self._report.failures += [failure for tap in taps if (failure := tap.failure())]
        self._conclude(pairs, inner, layer_samples if inner else 0)

    def _data(self, inputs: Data | None) -> CalibrationData | None:
        found = real_samples(self._bundle, self._specs, inputs)
        if found is None and _NO_SAMPLES not in self._report.warnings:
            self._report.warnings.append(_NO_SAMPLES)
        return found

    def _pairs(self, sides: Mapping[str, Side]) -> list[PairComparison]:
        reference = self._golden
        wanted = [
            (name, other)
            for name in sides
            for other in (reference, SOURCE)
            if name not in (other, SOURCE) and other in sides
        ]
        return [self._pair(sides[name], sides[other]) for name, other in wanted]

    def _pair(self, side: Side, reference: Side) -> PairComparison:
        arithmetic = side.arithmetic
        expected = reference.output_specs
        outputs = {
            name: (spec, expected[name])
            for name, spec in side.output_specs.items()
            if name in expected
        }
        pair = PairComparison(
            side.name,
            reference.name,
            arithmetic,
            outputs,
            must_be_exact=arithmetic == reference.arithmetic != "float",
            planned=self._quantizations,
        )
        if set(side.output_specs) != set(expected):
            pair.error = (
                f"its outputs are {', '.join(side.output_specs)}, those of the reference "
                f"{', '.join(expected)}"
            )
        return pair

    def _batch_size(self) -> int:
        """Samples in a run: as many as memory allows where all models leave the number open."""
        from intaglio.fitting.runner import batch_size

        specs = [spec for side in self._sides for spec in side.artifact.inputs]
        if self._source is None or not all(s.shape and isinstance(s.shape[0], str) for s in specs):
            return 1
        size = batch_size(load_graph(self._bundle.folder / self._source.path))
        # A model may call its batch open and still reshape to a single sample inside.
        trial = next(self._inputs.batches(2), None)
        if size == 1 or trial is None or trial.count < 2:
            return 1
        whole = all(s.can_run(trial.inputs, self._quantizations, trial.count) for s in self._sides)
        return size if whole else 1

    def _add_accuracy(self, found: Mapping[str, RunResult | None], batch: Batch) -> None:
        specs = {side.name: side.output_specs for side in self._sides}
        real = {
            name: {key: to_real(array, specs[name][key]) for key, array in result.outputs.items()}
            for name, result in found.items()
            if result is not None
        }
        self._accuracy.add(real, batch.count, batch.labels, batch.targets)

    def _layer_comparisons(self) -> dict[str, list[LayerComparison]]:
        """What to compare inside each artifact that can be looked into."""
        if self._source is None:
            return {}
        graph = load_graph(self._bundle.folder / self._source.path)
        sources = source_values(graph)
        self._quantized_source = is_quantized(graph)
        found = {}
        for side in self._sides:
            path = self._bundle.folder / side.artifact.path
            if side.is_source or side.error is not None or path.suffix != ".onnx":
                continue
            try:
                tensors = [t for t in inner_tensors(load_graph(path)) if t.source in sources]
            except InputError:
                continue  # Running it fails as well and says why.
            found[side.name] = [LayerComparison(side.name, t, sources[t.source]) for t in tensors]
        self._sources = sources
        return found

    def _tap_comparisons(self, pairs: Sequence[PairComparison]) -> list[TapComparison]:
        """Where every bit must agree, inner tensors of the golden reference are looked at too."""
        golden = self._golden
        sides = {side.name: side for side in self._sides}
        if golden not in sides or sides[golden].error is not None:
            return []
        try:
            graph = load_graph(self._bundle.folder / sides[golden].artifact.path)
        except InputError:
            return []  # Running it fails as well and says why.
        by_source = {t.source: t.name for t in inner_tensors(graph) if t.is_integer}
        found = []
        for pair in pairs:
            artifact = sides[pair.artifact].artifact
            given = self._bundle.opener(artifact).inner_tensors(artifact, self._bundle.folder)
            names = {
                name: by_source[source] for name, source in given.items() if source in by_source
            }
            if names and pair.must_be_exact and pair.reference == golden:
                found.append(TapComparison(pair.artifact, golden, names))
        return found

    def _add_taps(
        self, taps: Sequence[TapComparison], sides: Mapping[str, Side], batch: Batch
    ) -> None:
        wanted = dict.fromkeys(name for tap in taps for name in tap.names.values())
        if not wanted:
            return
        expected = self._tensors(sides[taps[0].reference], batch, list(wanted))
        for tap in taps:
            tap.add(self._tensors(sides[tap.artifact], batch, list(tap.names)), expected)

    def _add_layers(self, inner: Mapping[str, list[LayerComparison]], batch: Batch) -> None:
        wanted = dict.fromkeys(c.source.name for found in inner.values() for c in found)
        if not wanted:
            return
        sides = {side.name: side for side in self._sides}
        expected = self._tensors(sides[SOURCE], batch, list(wanted))
        for name, comparisons in inner.items():
            found = self._tensors(sides[name], batch, [c.tensor.name for c in comparisons])
            for comparison in comparisons:
                actual = found.get(comparison.tensor.name)
                reference = expected.get(comparison.source.name)
                if actual is not None and reference is not None:
                    comparison.add(actual, reference)

    def _tensors(self, side: Side, batch: Batch, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Tensors of one artifact by name, its inputs and outputs among them."""
        result = side.run(batch.inputs, self._quantizations, names)
        if result is None:
            return {}
        return {**side.feed(batch.inputs, self._quantizations), **result.outputs, **result.inner}

    def _conclude(
        self,
        pairs: Sequence[PairComparison],
        inner: Mapping[str, list[LayerComparison]],
        layer_samples: int,
    ) -> None:
        report = self._report
        report.inputs = {
            "samples": self._inputs.real,
            "generated": self._inputs.generated,
            "layers": layer_samples,
        }
        report.accuracy.update(self._accuracy.results())
        report.warnings += self._coverage.warnings()
        # The golden reference first; others repeat most of what it says.
        golden = self._golden
        for name in sorted(inner, key=lambda name: name != golden):
            results = [r for c in inner[name] if (r := c.result()) is not None]
            report.layers += rank_layers(results, self._sources, advise=not self._quantized_source)
        optional = {side.name for side in self._sides if not side.must_run}
        broken = {side.name for side in self._sides if side.error is not None}
        for side in self._sides:
            if side.error is not None:
                found = report.failures if side.must_run else report.warnings
                found.append(f"{side.name} cannot be run: {side.error}")
        for pair in pairs:
            if {pair.artifact, pair.reference} & broken & optional:
                continue
            result = pair.result()
            report.pairs.append(result)
            if not {pair.artifact, pair.reference} & broken:
                report.failures += _failure(result)


def border_of(source: Artifact | None, artifact: Artifact) -> dict[str, TensorSpec]:
    """Inputs and outputs of the float model, or of an artifact, by name: for their layouts."""
    known = source or artifact
    return {spec.name: spec for spec in (*known.inputs, *known.outputs)}


def real_samples(
    bundle: Bundle, specs: Sequence[TensorSpec], inputs: Data | None
) -> CalibrationData | None:
    """The samples to run: what was given, else what the bundle keeps; None where it has none.

    Raises:
        InputError: They are missing, damaged or do not fit the model.
    """
    if inputs is not None:
        return open_inputs(inputs, specs, _data_options(bundle))
    stored = bundle.samples()
    # Samples are those of the whole model; parts of it may take something else.
    if not {spec.name for spec in specs} <= set(stored):
        return None
    return open_inputs(stored, specs)


def _ran(sides: Mapping[str, Side], *names: str) -> bool:
    """Whether all these could be run."""
    return all(sides[name].error is None for name in names)


def _add_pair(
    pair: PairComparison,
    sides: Mapping[str, Side],
    found: Mapping[str, RunResult | None],
    generated: bool,
) -> None:
    actual, reference = found[pair.artifact], found[pair.reference]
    if actual is not None and reference is not None:
        pair.add(actual.outputs, reference.outputs, generated=generated)
    elif actual is None:
        pair.error = pair.error or sides[pair.artifact].error
    else:
        pair.error = pair.error or f"{pair.reference} cannot be run"


def _failure(pair: PairResult) -> list[str]:
    """What is wrong with a pair whatever was required, in at most one sentence."""
    if pair.error is not None:
        return [f"{pair.artifact} cannot be compared with {pair.reference}: {pair.error}"]
    if pair.must_be_exact and pair.verdict != "exact":
        return [
            f"{pair.artifact} differs from {pair.reference} in {100 * pair.mismatch_fraction:.3g} "
            f"% of {pair.values} values, by up to {pair.max_error_lsb:g} LSB, though both state "
            f"the arithmetic '{pair.arithmetic}'"
        ]
    return []


def source_inputs(source: Artifact | None, artifact: Artifact) -> list[TensorSpec]:
    """Inputs of the float model; without one, those of an artifact in real units."""
    if source is not None:
        return list(source.inputs)
    return [
        spec if spec.scale is None else TensorSpec(spec.name, spec.shape, "float32", spec.layout)
        for spec in artifact.inputs
    ]


def _data_options(bundle: Bundle) -> Any:
    """How the recipe reads folders of images and wav files."""
    from pydantic import ValidationError

    from intaglio.fitting.data import DataOptions

    try:
        return DataOptions.model_validate(bundle.manifest.get("recipe", {}).get("data", {}))
    except (ValidationError, AttributeError) as error:
        raise InputError(
            "the recipe in the manifest is damaged", remedy="convert the model again"
        ) from error
