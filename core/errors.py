"""Every error that intaglio raises on purpose, each with its exit code.

This module imports nothing of intaglio, so every layer may use it. A message says what is
wrong; ``remedy`` says what the user can do about it. Anything else that escapes is a bug of
ours and ends with exit code 70.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class IntaglioError(Exception):
    """Base of all intended errors.

    Args:
        message: What is wrong, in one sentence, with the offending value.
        remedy: What the user can do about it.
    """

    exit_code = 70

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class RecipeError(IntaglioError):
    """A recipe, an option or a combination of arguments that makes no sense (exit code 2)."""

    exit_code = 2


class InputError(IntaglioError):
    """A file that is missing, damaged or not what it should be (exit code 3)."""

    exit_code = 3


class OutputError(IntaglioError):
    """A file or folder that cannot be written: full disk, no permission (exit code 3)."""

    exit_code = 3


class Refusal:
    """One thing of the model that is not supported: where, why, and what to do about it.

    Args:
        node: Name of the source node (or tensor).
        operator: Operator type, such as ``Conv``.
        reason: Why it cannot be taken.
        remedy: What the user can do about it.
    """

    def __init__(self, node: str, operator: str, reason: str, remedy: str | None = None) -> None:
        self.node = node
        self.operator = operator
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.operator} '{self.node}'" if self.node else self.operator
        text = f"{where}: {self.reason}"
        return f"{text} ({self.remedy})" if self.remedy else text

    def __repr__(self) -> str:
        return f"Refusal({str(self)!r})"

    def to_dict(self) -> dict[str, str | None]:
        """Returns the refusal as JSON-friendly data."""
        return {
            "node": self.node,
            "operator": self.operator,
            "reason": self.reason,
            "remedy": self.remedy,
        }


class UnsupportedError(IntaglioError):
    """Something in the model is not supported (exit code 4).

    Args:
        message: Summary.
        refusals: Each node that cannot be taken.
        remedy: What the user can do about it.
    """

    exit_code = 4

    def __init__(
        self, message: str, refusals: Sequence[Refusal] = (), *, remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.refusals = tuple(refusals)

    def __str__(self) -> str:
        shown = [f"\n  - {refusal}" for refusal in self.refusals[:20]]
        if len(self.refusals) > 20:
            shown.append(f"\n  - and {len(self.refusals) - 20} more")
        return super().__str__() + "".join(shown)


class VerificationError(IntaglioError):
    """An artifact does not compute what it should, or is not what the manifest says (exit 5)."""

    exit_code = 5


class ToolError(IntaglioError):
    """An outside tool failed (exit code 6).

    Args:
        message: What failed.
        command: The command as run.
        returncode: Its exit code, None when it did not start or timed out.
        log: Path of its log.
        remedy: What the user can do about it.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str],
        returncode: int | None = None,
        log: Path | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.command = tuple(command)
        self.returncode = returncode
        self.log = log


class InternalError(IntaglioError):
    """A broken invariant: a bug of ours (exit code 70)."""

    exit_code = 70
