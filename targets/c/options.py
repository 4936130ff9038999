"""Options of target ``c``."""

from __future__ import annotations

from pydantic import Field, field_validator

from intaglio.targets.base import TargetConfig
from intaglio.targets.c.naming import identifier
from intaglio.targets.c.variants import VARIANTS

_NAMES = tuple(variant.name for variant in VARIANTS)


class CConfig(TargetConfig):
    """What the emitted C is written for, and what it is called."""

    variants: tuple[str, ...] = Field(
        _NAMES,
        description="Processors to write kernels for; plain C is always there. Fewer make smaller "
        f"files: {', '.join(_NAMES)}.",
    )
    prefix: str = Field(
        "", description="Name of the files and functions; the model's file name where empty."
    )

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
