"""What outside programs end with, in words."""

from __future__ import annotations

import signal


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
