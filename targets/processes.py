"""Outside programs: how they are ended, and what they end with, in words."""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import IO


def signal_name(number: int) -> str:
    """Name of a signal, such as ``SIGSEGV``.

    Args:
        number: Its number; that of a process that it ended is the negative return code.

    Returns:
        The name, or ``signal 99`` where this system has none for it.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cause_of(code: int | None) -> str:
    """Why a child process is gone, in words.

    Args:
        code: Its return code, None where it has none yet.
    """
    if code is None:
        return "it closed its connection"
    return signal_name(-code) if code < 0 else f"exit code {code}"


def kill_late(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    """Ends a process whose time is over, and says so."""
    late.set()
    process.kill()


def end_child(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Ends a process and closes its pipes and its log."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, log):
        if stream is not None:
            stream.close()
