"""``verify`` of a model that is cut in two: codec, parts and whole, on the same inputs.

What must hold bit for bit:

- the device's part gives the codes that the definition of the codec gives for the features of the
  unsplit quantized model;
- the coder in C and that in numpy write the same frames, and frames give the codes back;
- the server's part gives what the unsplit model's tail gives for the features that the definition
  decodes.

What is reported: how far the split model is from the unsplit one and from the float one, bytes of
whole messages, and the same of plain quantizers and of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, IntaglioError
from intaglio.passes.split.cuts import get_cut
from intaglio.progress import Progress
from intaglio.running import run_batched
from intaglio.split_parts import DEVICE, SERVER, SERVER_TARGET, UNSPLIT
from intaglio.split_session import feed_of, read_specification
from intaglio.targets.base import Artifact, RunResult, Runtime
from intaglio.transforms.split.coding import decode_features, encode_features
from intaglio.verification.accuracy import Accuracy, choose_metric
from intaglio.verification.comparison import PairComparison, to_real
from intaglio.verification.inner_tensors import load_graph
from intaglio.verification.inputs import Batch, VerifyInputs
from intaglio.verification.report import SOURCE, PairResult, VerifyReport
from intaglio.verification.role import Data, border_of, real_samples, source_inputs
from intaglio.verification.runs import Side, describe, input_quantizations
from intaglio.verification.split_baselines import Tail
from intaglio.verification.split_rows import Baselines, Row
from intaglio.verification.split_sending import Sending
from intaglio.verification.split_stripes import StripeBits
from intaglio.verification.split_traffic import Frames

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

#: How device, frame and server together are called in pairs and in accuracy.
SPLIT = "split"

_DEFINITION = "numpy definition"
_C = "c"
_BATCH = 32


def verify_split(
    bundle: Bundle,
    report: VerifyReport,
    inputs: Data | None,
    samples: int | None,
    metric: str | None,
    progress: Progress,
) -> None:
    """Adds what the parts of a bundle do together to a report.

    Args:
        bundle: A split bundle.
        report: Gets pairs, accuracy, traffic, tables and failures.
        inputs: As for ``verify``.
        samples: Likewise.
        metric: Likewise.
        progress: Listener.

    Raises:
        InputError: The inputs do not fit the model.
        RecipeError: The metric does not fit them.
    """
    try:
        run = _Run(bundle, report)
    except IntaglioError as error:
        report.failures.append(f"the parts cannot be run: {error}")
        return
    run.open(inputs, samples, metric)
    try:
        run.compare(progress)
    except _StoppedError as stopped:
        report.failures.append(f"{stopped.what} cannot be run: {stopped}")


class _StoppedError(Exception):
    """Something does not run, so that nothing can be compared."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(reason)
        self.what = what


class _Run:
    """One verification of the parts."""

    def __init__(self, bundle: Bundle, report: VerifyReport) -> None:
        self._bundle = bundle
        self._report = report
        self._codec = read_specification(bundle)
        self._whole = bundle.artifact(SERVER_TARGET, UNSPLIT)
        self._server = bundle.session(SERVER_TARGET, SERVER)
        path = bundle.folder / self._whole.path
        self._cut = get_cut(load_graph(path)) or ()
        if [feature.name for feature in self._codec.features] != list(self._cut):
            raise InputError(
                f"{path} is cut elsewhere than the codec says", remedy="convert the model again"
            )
        self._tail = Tail(path, self._cut)
        self._frames = Frames(self._codec, report.warnings)
        self._stripes = StripeBits(self._codec)
        source = bundle.reference
        self._specs = source_inputs(source, self._whole)
        self._quantizations = input_quantizations(bundle, [self._whole])
        layouts = border_of(source, self._whole)
        self._unsplit = Side(bundle, self._whole, UNSPLIT, layouts)
        self._source = None if source is None else Side(bundle, source, SOURCE, layouts)
        self._devices = _devices(bundle, layouts)
        self._sending = [
            Sending(bundle, a, Side(bundle, a, a.target, layouts), self._codec)
            for a in bundle.artifacts
            if a.role == DEVICE and a.target == _C
        ]

    def open(self, inputs: Data | None, samples: int | None, metric: str | None) -> None:
        """Opens the inputs, and prepares the comparisons."""
        self._inputs = VerifyInputs(
            self._specs,
            self._quantizations,
            real_samples(self._bundle, self._specs, inputs),
            limit=samples,
            generate=inputs is None,
        )
        self._metric = choose_metric(metric, self._inputs.has_labels, self._inputs.has_targets)
        self._accuracy = Accuracy(self._metric)
        self._agreement = Accuracy(None)
        outputs = {spec.name: spec for spec in self._whole.outputs}
        pairs = {name: (spec, spec) for name, spec in outputs.items()}
        arithmetic = self._whole.arithmetic
        self._codes = {
            device.name: PairComparison(
                device.name,
                _DEFINITION,
                arithmetic,
                {spec.name: (spec, spec) for spec in device.artifact.outputs},
                must_be_exact=True,
            )
            for device in self._devices
        }
        server = f"{SERVER}/{SERVER_TARGET}"
        self._decoded = PairComparison(server, _DEFINITION, arithmetic, pairs, must_be_exact=True)
        self._loss = PairComparison(SPLIT, UNSPLIT, arithmetic, pairs)
        self._float = None
        if self._source is not None:
            real = self._source.output_specs
            both = {name: (spec, real[name]) for name, spec in outputs.items() if name in real}
            self._float = PairComparison(
                SPLIT, SOURCE, arithmetic, both, planned=self._quantizations
            )

    def compare(self, progress: Progress) -> None:
        """Runs everything and adds what it finds to the report."""
        total = self._inputs.real + self._inputs.generated
        done = 0
        progress(SPLIT, 0, total)
        for batch in self._inputs.batches(_BATCH if self._inputs.open_batch else 1):
            self._add(batch)
            done += batch.count
            progress(SPLIT, min(done, total), total)
        self._frames.finish()
        rows = self._rows(progress)
        pairs = [*self._codes.values(), self._decoded, self._loss, self._float]
        found = [pair.result() for pair in pairs if pair is not None]
        report = self._report
        report.pairs += found
        report.failures += [text for pair in found for text in _failure(pair)]
        report.failures += self._frames.failures
        report.failures += [each.failure for each in self._sending if each.failure]
        report.warnings += [each.warning for each in self._sending if each.warning]
        report.metric = self._metric
        report.traffic = self._frames.traffic()
        report.accuracy.update(self._accuracy.results())
        report.split = {
            "cut": list(self._cut),
            "frames": self._frames.to_dict(),
            "sent": sum(each.sent for each in self._sending),
            "stripes": self._stripes.to_list(),
            "agreement_with_unsplit": self._agreement.results().get(SPLIT, {}),
            "rows": [row.to_dict() for row in rows],
        }

    def _add(self, batch: Batch) -> None:
        whole = self._run_unsplit(batch)
        features = {name: whole.inner[name] for name in self._cut}
        codes, ranges = encode_features(self._codec, features)
        for device in self._devices:
            pair = self._codes[device.name]
            given = device.run(batch, self._quantizations)
            if given is None:
                pair.error = device.error
            else:
                names = [spec.name for spec in device.artifact.outputs]
                wanted = dict(zip(names, (codes.view(np.int8), ranges), strict=False))
                pair.add(given, wanted, generated=batch.generated)
        self._frames.add(codes, ranges, generated=batch.generated)
        for sending in self._sending:
            sending.add(batch, codes, ranges, self._quantizations)
        decoded = decode_features(self._codec, codes, ranges)
        expected = self._tail.run(decoded)
        feed = feed_of(self._server.artifact, codes, ranges)
        found = _ran("the server's part", lambda: run_batched(self._server, feed))
        self._decoded.add(found, expected, generated=batch.generated)
        self._loss.add(found, whole.outputs, generated=batch.generated)
        self._add_real(batch, codes, found, whole)

    def _add_real(
        self,
        batch: Batch,
        codes: NDArray[np.uint8],
        found: Mapping[str, NDArray[Any]],
        whole: RunResult,
    ) -> None:
        """Compares with the float model, and counts right answers."""
        source = None
        if self._source is not None and self._float is not None:
            source = self._source.run(batch.inputs, self._quantizations)
            if source is None:
                raise _StoppedError("the float model", str(self._source.error))
            self._float.add(found, source.outputs, generated=batch.generated)
        if batch.generated:
            return
        self._stripes.add(codes)
        specs = {spec.name: spec for spec in self._whole.outputs}
        split, unsplit = _real(found, specs), _real(whole.outputs, specs)
        answers = {SPLIT: split, UNSPLIT: unsplit}
        if source is not None:
            answers[SOURCE] = source.outputs
        self._accuracy.add(answers, batch.count, batch.labels, batch.targets)
        self._agreement.add({SOURCE: unsplit, SPLIT: split}, batch.count, None, None)

    def _run_unsplit(self, batch: Batch) -> RunResult:
        whole = self._unsplit.run(batch.inputs, self._quantizations, self._cut)
        if whole is None:
            raise _StoppedError("the unsplit model", str(self._unsplit.error))
        # A cut at an output or an input is not given twice.
        given = {**self._unsplit.feed(batch.inputs, self._quantizations), **whole.outputs}
        return RunResult(whole.outputs, {**given, **whole.inner})

    def _rows(self, progress: Progress) -> list[Row]:
        """The split model beside what else could be sent; real samples only."""
        if not self._inputs.real:
            return []
        results = self._accuracy.results()
        traffic = self._frames.traffic()
        baselines = Baselines(
            self._codec, self._tail, self._whole, self._source, self._metric, traffic["bytes"]
        )
        baselines.seek(self._feed(batch) for batch in self._real_batches())
        done = 0
        for batch in self._real_batches():
            progress("baselines", done, self._inputs.real)
            baselines.add(batch, self._run_unsplit(batch), self._feed(batch))
            done += batch.count
        return baselines.rows(results, traffic)

    def _feed(self, batch: Batch) -> dict[str, NDArray[Any]]:
        return self._unsplit.feed(batch.inputs, self._quantizations)

    def _real_batches(self) -> Iterator[Batch]:
        """The real samples once more."""
        for batch in self._inputs.batches(_BATCH if self._inputs.open_batch else 1):
            if batch.generated:
                return
            yield batch


class _Device:
    """A device's part in one runtime."""

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        runtime: Runtime,
        name: str,
        layouts: Mapping[str, Any],
    ) -> None:
        self.artifact = artifact
        self.name = name
        self._side = Side(bundle, artifact, name, layouts, runtime)
        self.error = self._side.error
        if self.error is None:
            self._session = bundle.session(artifact.target, DEVICE, runtime=runtime.name)

    def run(self, batch: Batch, quantizations: Any) -> dict[str, NDArray[Any]] | None:
        """Its outputs for a batch, one sample at a time where it takes no more; None on errors."""
        if self.error is not None:
            return None
        try:
            return run_batched(self._session, self._side.feed(batch.inputs, quantizations))
        except Exception as error:
            # A runtime may raise anything on a file it cannot take; the others go on.
            self.error = describe(error)
            return None


def _devices(bundle: Bundle, layouts: Mapping[str, Any]) -> list[_Device]:
    """The device's parts to compare with the definition, in every runtime of their arithmetic.

    The golden one is enough where there is one: all others are compared with it.
    """
    found = [artifact for artifact in bundle.artifacts if artifact.role == DEVICE]
    golden = [artifact for artifact in found if artifact.target == SERVER_TARGET]
    made = []
    for artifact in golden or found:
        runtimes = bundle.opener(artifact).runtimes(artifact)
        for runtime in runtimes:
            name = f"{DEVICE}/{artifact.target}"
            name += "" if len(runtimes) == 1 else f"@{runtime.name}"
            if runtime.arithmetic == artifact.arithmetic:
                made.append(_Device(bundle, artifact, runtime, name, layouts))
    return made


def _real(outputs: Mapping[str, NDArray[Any]], specs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: to_real(array, specs[name]) for name, array in outputs.items()}


def _ran(what: str, run: Any) -> dict[str, NDArray[Any]]:
    """What a run gives.

    Raises:
        _StoppedError: It failed.
    """
    try:
        found: dict[str, NDArray[Any]] = run()
    except Exception as error:
        raise _StoppedError(what, describe(error)) from error
    return found


def _failure(pair: PairResult) -> list[str]:
    """What is wrong with a pair, in at most one sentence."""
    if pair.error is not None:
        return [f"{pair.artifact} cannot be compared with {pair.reference}: {pair.error}"]
    if pair.must_be_exact and pair.verdict != "exact":
        return [
            f"{pair.artifact} differs from the {pair.reference} in "
            f"{100 * pair.mismatch_fraction:.3g} % of {pair.values} values"
        ]
    return []
