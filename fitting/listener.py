"""Who is told of the steps of a run."""

from __future__ import annotations

from collections.abc import Callable

#: Told after every step: how many are done, of how many, the loss, and the last validation's score
#: (PSNR in dB or accuracy; None before the first).
Listener = Callable[[int, int, float, "float | None"], None]
