"""Options of target ``ethos-u``: which NPU to compile for, and how Vela is to do it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from intaglio.targets.base import TargetConfig

Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]


#: Families that lack GATHER and more.
SMALLER = ("ethos-u55-", "ethos-u65-")


class EthosUConfig(TargetConfig):
    """Options of target ``ethos-u``.

    Attributes:
        accelerator: The NPU: its family and how many multiply-accumulates it does in a cycle.
        config: Path of a Vela configuration file that describes the memories of a chip; None
            for the one that comes with Vela.
        system_config: System configuration in that file: clock and memory bandwidths; None for
            Vela's choice for the accelerator.
        memory_mode: Memory mode in that file: what lies in which memory; None likewise.
        optimise: What Vela strives for: ``Performance`` or ``Size`` (less memory).
        arena_cache_size: Bytes of the arena, where that of the memory mode is not meant.
        timeout: Seconds after which Vela is given up.
        via: Format of the file that Vela is given: ``tflite`` (what the NPU lacks runs on the CPU)
            or ``tosa`` (what it lacks is refused).
        compare: Compile by the other path, too, for its figures in the report.
        softmax: Where a Softmax at the end of a TOSA file runs: ``auto`` (on the NPU where that has
            GATHER: Ethos-U85) or ``host`` (the file gives the logits).
    """

    accelerator: Accelerator = "ethos-u55-128"
    config: str | None = None
    system_config: str | None = None
    memory_mode: str | None = None
    optimise: Literal["Performance", "Size"] = "Performance"
    arena_cache_size: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=600.0, gt=0, le=86400)
    via: Literal["tflite", "tosa"] = "tflite"
    compare: bool = False
    softmax: Literal["auto", "host"] = "auto"

    def arguments(self) -> list[str]:
        """The options as Vela's command line takes them; what is None is left to Vela."""
        found = ["--accelerator-config", self.accelerator, "--optimise", self.optimise]
        given = {
            "--config": self.config,
            "--system-config": self.system_config,
            "--memory-mode": self.memory_mode,
            "--arena-cache-size": self.arena_cache_size,
        }
        for flag, value in given.items():
            if value is not None:
                found += [flag, str(value)]
        return found
