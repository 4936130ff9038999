"""``verify``: proves that the artifacts of a bundle compute what they should.

Every artifact runs on the same inputs. Artifacts that state one integer arithmetic must agree in
every bit with ``onnx-integer``; others are counted in LSB; all are compared with the float source,
layer by layer where they can be looked into. Training steps must agree in every step; device and
server of a model that is cut in two, with the definition of the codec. Everything is streamed:
memory does not depend on the number of samples.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from intaglio.bundle_files import write_json
from intaglio.errors import InputError, VerificationError
from intaglio.preparing import TRAIN_STEP
from intaglio.progress import Progress, silent
from intaglio.split_parts import MANIFEST_KEY as SPLIT_KEY
from intaglio.split_parts import SERVER
from intaglio.table_networks import MANIFEST_KEY
from intaglio.verification.inputs import check_limit
from intaglio.verification.report import VerifyReport
from intaglio.verification.requirements import check_requirements, parse_requirements
from intaglio.verification.role import Data, RoleRun
from intaglio.verification.table_networks import verify_table_network
from intaglio.verification.train_step import verify_training

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

VERIFY_JSON = "verify.json"


def verify_bundle(
    bundle: Bundle,
    inputs: Data | None = None,
    samples: int | None = None,
    metric: str | None = None,
    require: str | Iterable[str] = (),
    progress: Progress | None = None,
    layers: bool = True,
) -> VerifyReport:
    """Runs every artifact of a bundle and compares them.

    Without ``inputs`` these are the samples that the bundle keeps, 64 seeded random inputs
    (uniform over the range of the quantized inputs), and the all-minimum, all-maximum and
    zero-point ones; for a table network, pictures of many sizes. ``verify.json`` and
    ``report.html`` are written into the bundle.

    Args:
        bundle: The bundle.
        inputs: ``.npz``, ``.npy``, a folder, or arrays by name, with ``labels`` or ``target`` for
            accuracy.
        samples: Use only the first so many of them.
        metric: ``top1``, ``psnr`` or ``mse``; None for what fits the data.
        require: Further conditions: ``exact``, ``lsb=N``, ``sqnr=DB``.
        progress: Listener.
        layers: Whether to compare inner tensors.

    Returns:
        The report; its ``ok`` is the verdict. A damaged bundle, an artifact that does not run, a
        differing bit between artifacts of one arithmetic and a violated requirement make it False.

    Raises:
        RecipeError: ``samples``, ``metric`` or ``require`` make no sense for this bundle.
        InputError: The inputs are missing, damaged or do not fit the model.
    """
    check_limit(samples)
    requirements = parse_requirements(require)
    report = VerifyReport(requirements=[str(requirement) for requirement in requirements])
    try:
        bundle.check_hashes()
    except VerificationError as error:
        report.failures.append(str(error))
        return _finish(bundle, report)
    if MANIFEST_KEY in bundle.manifest:
        verify_table_network(bundle, report, inputs, samples, metric, progress or silent)
        report.failures += check_requirements(requirements, report.pairs)
        return _finish(bundle, report)
    # Steps of training and the server's part take no samples of the model.
    roles = dict.fromkeys(
        a.role
        for a in bundle.artifacts
        if a is not bundle.reference and a.role not in (TRAIN_STEP, SERVER)
    )
    for role in roles:
        run = RoleRun(bundle, role, report, several=len(roles) > 1)
        run.open(inputs, samples, metric)
        run.compare(progress or silent, layers)
    verify_training(bundle, report, progress or silent)
    if SPLIT_KEY in bundle.manifest:
        # Imported here: it opens coders, which other bundles have no use for.
        from intaglio.verification.split import verify_split

        verify_split(bundle, report, inputs, samples, metric, progress or silent)
    report.failures += check_requirements(requirements, report.pairs)
    return _finish(bundle, report)


def _finish(bundle: Bundle, report: VerifyReport) -> VerifyReport:
    """Writes ``verify.json`` and renders ``report.html`` anew; a read-only bundle stays."""
    from intaglio.report.html import write_report

    temporary = bundle.folder / f".{VERIFY_JSON}.{os.getpid()}"
    try:
        write_json(temporary, report.to_dict())
        temporary.replace(bundle.folder / VERIFY_JSON)
        write_report(bundle.folder, report)
    except (OSError, InputError) as error:
        # What the reports are drawn from may be missing as well; the verdict stands without them.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        report.warnings.append(f"the reports in {bundle.folder} could not be written: {error}")
    return report
