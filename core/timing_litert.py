"""The child process that times one TFLite file in LiteRT.

Files exist that corrupt the runtime's heap, so it is never loaded into the user's process; and
the time is taken here, without the way to this process and back. Started as
``python -m intaglio.timing_litert``; one JSON object a line, a request and its reply in turn:

* ``{"path": ..., "kernels": "xnnpack" | "builtin", "threads": N}`` opens a file: ``{"ok": true}``
* ``{"batch": N}`` runs it so often: ``{"wall": seconds, "processor": seconds}``

A failure is ``{"error": message}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

import numpy as np


class _Model:
    """A file with random inputs."""

    def __init__(self, path: str, kernels: str, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kinds = {
            "xnnpack": OpResolverType.AUTO,
            "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._interpreter = Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_op_resolver_type=kinds[kernels],
            )
        self._interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for detail in self._interpreter.get_input_details():
            dtype = np.dtype(detail["dtype"])
            if dtype.kind in "iu" and dtype.itemsize <= 2:
                limits = np.iinfo(dtype)
                drawn = rng.integers(limits.min, limits.max, detail["shape"], dtype, True)
            else:
                drawn = np.asarray(rng.standard_normal(detail["shape"])).astype(dtype)
            self._interpreter.set_tensor(detail["index"], drawn)

    def batch(self, count: int) -> dict[str, float]:
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(count):
            self._interpreter.invoke()
        return {
            "wall": time.perf_counter() - wall,
            "processor": time.process_time() - processor,
        }


def main() -> int:
    """Answers requests until stdin ends."""
    # What the runtime prints must not stand among the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    model: _Model | None = None
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            if "path" in request:
                model = _Model(request["path"], request["kernels"], request["threads"])
                reply: dict[str, Any] = {"ok": True}
            else:
                reply = {"error": "no file is open"}
                if model is not None:
                    reply = dict(model.batch(request["batch"]))
        except Exception as error:  # Whatever the runtime raises is an answer to the parent.
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    return 0


if __name__ == "__main__":
    # A heap that a bad file has corrupted makes an orderly exit crash: leave at once.
    os._exit(main())
