"""Child process: runs TFLite files in LiteRT's reference kernels and in TFLite Micro.

Reads pickled jobs ``(runtime, file, [inputs of a run, ...])`` and answers with the outputs of each
run, or with the text of the error.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np

ARENA = 1 << 22


def run_litert(
    model: bytes, runs: list[list[np.ndarray]], resolver: str = "BUILTIN_REF"
) -> list[list[np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType[resolver],
    )
    interpreter.allocate_tensors()
    places = [d["index"] for d in interpreter.get_input_details()]
    results = [d["index"] for d in interpreter.get_output_details()]
    found = []
    for inputs in runs:
        for place, array in zip(places, inputs, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        found.append([interpreter.get_tensor(r) for r in results])
    return found


def run_micro(model: bytes, runs: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
    found = []
    for inputs in runs:
        for place, array in enumerate(inputs):
            interpreter.set_input(array, place)
        interpreter.invoke()
        outputs: list[np.ndarray] = []
        while True:
            try:
                outputs.append(np.array(interpreter.get_output(len(outputs))))
            except Exception:
                break
        found.append(outputs)
    return found


def run_builtin(model: bytes, runs: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    return run_litert(model, runs, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")


RUNTIMES: dict[str, Any] = {
    "litert": run_litert,
    "litert-builtin": run_builtin,
    "tflm": run_micro,
}


def main() -> None:
    # The runtimes print on standard output and error: the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        try:
            runtime, model, runs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = RUNTIMES[runtime](model, runs)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
