"""Options of target ``c``."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from intaglio.targets.base import TargetConfig
from intaglio.targets.c.lifetimes import Memory
from intaglio.targets.c.naming import identifier
from intaglio.targets.c.variants import VARIANTS

_NAMES = tuple(variant.name for variant in VARIANTS)


class CConfig(TargetConfig):
    """Options of target ``c``.

    Attributes:
        variants: Processors to write kernels for: ``vnni``, ``avx2``, ``mve``, ``dotprod``,
            ``neon``, ``dsp``, by commas; plain C (``portable``) is always there. Fewer make
            smaller files.
        prefix: Name of the files and functions; the name of the model's file where empty.
        memory: Kernels work faster with scratch memory. ``balanced`` lets the arena grow by 5 % of
            the tensors that live at once, or by 768 bytes where that is more, and takes a slower
            kernel where the fastest needs more; ``small`` by 5 % alone; ``fast`` takes the fastest.
            A training step keeps results of layers that do not train where that takes 10 %;
            ``fast``: always.
    """

    variants: tuple[str, ...] = _NAMES
    prefix: str = ""
    memory: Memory = "balanced"

    @field_validator("variants", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """``dsp,mve`` is a list too: it needs no quotes in a shell."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("variants")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in _NAMES]
        if unknown:
            raise ValueError(f"no processor '{unknown[0]}'; known: {', '.join(_NAMES)}")
        return value

    @field_validator("prefix")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value and identifier(value) != value:
            raise ValueError(f"'{value}' is no name in C; '{identifier(value)}' would be one")
        return value
