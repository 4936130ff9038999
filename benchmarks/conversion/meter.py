"""Runs a command and writes what the system counted for it; a small process of its own.

    python meter.py OUT.json COMMAND...

The peak memory that Linux reports of a child begins with that of the process that forked it, so a
large parent would measure itself. This one imports next to nothing.
"""

import json
import os
import sys
import time


def main(out: str, command: list[str]) -> int:
    """Runs ``command``, writes seconds and peak memory, returns its exit code."""
    start = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(child, 0)
    figures = {
        "seconds": round(time.perf_counter() - start, 3),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_memory_mb": round(
            usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6, 1
        ),
    }
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would cost memory
        json.dump(figures, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
