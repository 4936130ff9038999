"""Runs ONNX files on stored inputs; started natively and under emulation by ``run``.

    python worker.py JOB.npz OUT.npz

JOB holds ``models`` (paths) and, for model i, its inputs as ``i/NAME``. OUT gets the outputs as
``i/NAME``, seconds of each model as ``i:seconds``, and ``features``: the vector extensions found.
Needs numpy and onnxruntime only.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


def vector_extensions() -> list[str]:
    """The processor's vector extensions, as numpy sees them."""
    from numpy._core._multiarray_umath import __cpu_features__ as features

    return [name for name, found in features.items() if found and name.startswith(("AVX", "VNNI"))]


def main(job: str, out: str) -> None:
    """Runs all models of a job."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    results: dict[str, NDArray[np.generic]] = {"features": np.array(vector_extensions())}
    with np.load(job) as archive:
        for index, model in enumerate(archive["models"].tolist()):
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            names = [value.name for value in session.get_inputs()]
            feeds = {name: archive[f"{index}/{name}"] for name in names}
            start = time.perf_counter()
            found = session.run(None, feeds)
            results[f"{index}:seconds"] = np.array(time.perf_counter() - start)
            for value, array in zip(session.get_outputs(), found, strict=True):
                results[f"{index}/{value.name}"] = array
    np.savez(out, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
