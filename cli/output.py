"""Where things go: results to stdout, everything else to stderr, errors to exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from intaglio.errors import IntaglioError, InternalError, OutputError, UnsupportedError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
_WIDTH = 160
_BUG = InternalError.exit_code


class Output(AbstractContextManager["Output"]):
    """Output of one command; as a context it turns errors into messages and exit codes.

    Args:
        as_json: Print JSON on stdout and nothing else there.
        quiet: Print errors only.
        debug: Show tracebacks.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.debug = debug

    @property
    def out(self) -> Console:
        """Console for results."""
        return _console(stderr=False)

    @property
    def err(self) -> Console:
        """Console for progress, warnings and errors."""
        return _console(stderr=True)

    def result(self, data: Any, draw: Callable[[Console], None]) -> None:
        """Gives the result of the command.

        Args:
            data: JSON-friendly data.
            draw: Prints it for people; called unless ``--json`` or ``--quiet`` was given.
        """
        if self.as_json:
            text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
            sys.stdout.write(text + "\n")
        elif not self.quiet:
            draw(self.out)

    def warn(self, message: str) -> None:
        """Prints a warning, in red, on stderr; ``--quiet`` does not hide it."""
        self.err.print(f"warning: {message}", style="bold red", markup=False, highlight=False)

    def fail(self, message: str) -> None:
        """Prints what makes a verdict negative, likewise."""
        self.err.print(f"failed: {message}", style="bold red", markup=False, highlight=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, (BrokenPipeError, SystemExit)):
            return
        if _was_interrupted(error):
            self.err.print("interrupted; what was there before is untouched", style="red")
            raise typer.Exit(INTERRUPTED)
        if not isinstance(error, Exception) or _is_exit(error):
            return
        if self.debug and trace is not None:
            import traceback

            traceback.print_exception(kind, error, trace)
        raise typer.Exit(self._report(_known(error)))

    def _report(self, error: IntaglioError) -> int:
        """Prints an error and returns its exit code."""
        self.err.print("error:", style="bold red", end=" ")
        self.err.print(error.message, markup=False, highlight=False, soft_wrap=True)
        refusals = getattr(error, "refusals", ())
        for refusal in refusals[:20]:
            self.err.print(f"  - {refusal}", markup=False, highlight=False, soft_wrap=True)
        if len(refusals) > 20:
            self.err.print(f"  - and {len(refusals) - 20} more (--json shows all)")
        if error.remedy:
            self.err.print("remedy:", style="bold", end=" ")
            self.err.print(error.remedy, markup=False, highlight=False, soft_wrap=True)
        if error.exit_code == _BUG:
            self.err.print("this is a bug of ours, not yours", style="bold red")
        if self.as_json:
            data: dict[str, Any] = {
                "type": type(error).__name__,
                "message": error.message,
                "remedy": error.remedy,
                "exit_code": error.exit_code,
            }
            if isinstance(error, UnsupportedError):
                data["refusals"] = [refusal.to_dict() for refusal in error.refusals]
            sys.stdout.write(json.dumps({"error": data}, indent=2) + "\n")
        return error.exit_code


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # A file or a pipe has no width; tables should not be squeezed into 80 columns for it.
        console.width = _WIDTH
    return console


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: an import that it stops ends in an ImportError."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _known(error: Exception) -> IntaglioError:
    """The error as one of ours: what nobody expected is a bug, unless the system said no."""
    if isinstance(error, IntaglioError):
        return error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return OutputError(
            f"{where}{error.strerror}", remedy="check the path, its permissions and free space"
        )
    if isinstance(error, MemoryError):
        return InternalError("out of memory", remedy="use fewer or smaller samples")
    return InternalError(
        f"{type(error).__name__}: {error}",
        remedy="run again with --debug, and report what it prints",
    )


def _is_exit(error: Exception) -> bool:
    """Whether an exception is the command line library's own way to leave."""
    return isinstance(error, (typer.Exit, typer.Abort, typer.BadParameter))
