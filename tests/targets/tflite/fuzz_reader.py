"""Feeds damaged files to the reader for a while; run as a program, in a process of its own.

    python -m tests.targets.tflite.fuzz_reader SECONDS SEED FILE...

Prints one JSON line: how many files were read, refused and left out, and what went wrong. Memory
is limited by the system, so that a reader that believes a file's sizes dies.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY_BYTES = 4 << 30
SLOWEST_SECONDS = 10.0


def main(seconds: float, seed: int, files: list[str]) -> None:
    """Runs for ``seconds``."""
    from intaglio.errors import InputError, UnsupportedError
    from intaglio.targets.tflite.read import read_tflite
    from tests.targets.tflite.mutations import mutate_bytes, mutate_structure, unpack

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    source = random.Random(seed)
    originals = [(Path(f).name, Path(f).read_bytes()) for f in files]
    models = {name: unpack(data) for name, data in originals}
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    slowest = 0.0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.tflite"
        while time.monotonic() < end and len(wrong) < 5:
            name, data = source.choice(originals)
            whole = source.random() < 0.3
            found = mutate_bytes(data, source) if whole else mutate_structure(models[name], source)
            if found is None:
                counts["unpackable"] += 1
                continue
            path.write_bytes(found)
            start = time.monotonic()
            try:
                read_tflite(path, {})
                counts["read"] += 1
            except (InputError, UnsupportedError):
                counts["refused"] += 1
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"damaged-{seed}-{len(wrong)}.tflite"
                kept.write_bytes(found)
                wrong.append(f"{name} kept as {kept.name}\n{traceback.format_exc(limit=-6)}")
            taken = time.monotonic() - start
            slowest = max(slowest, taken)
            if taken > SLOWEST_SECONDS:
                wrong.append(f"{name}: {taken:.1f} s")
    print(json.dumps({**counts, "slowest": round(slowest, 2), "wrong": wrong}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
