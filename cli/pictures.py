"""``intaglio run`` on picture files, and the choice between those and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from intaglio.bundle_files import jsonable
from intaglio.cli.bars import bars
from intaglio.cli.output import Output
from intaglio.errors import InputError, RecipeError
from intaglio.picture_jobs import is_pictures

if TYPE_CHECKING:
    from rich.console import Console

    from intaglio.picture_runs import PictureRun

#: Notes that are printed; ``--json`` has all of them.
_SHOWN_NOTES = 10


def run_any(
    output: Output,
    path: str,
    source: str,
    result: str | None,
    *,
    target: str | None,
    runtime: str | None,
    quantize_io: bool,
    threads: int | None,
    luma: bool,
    orientations: int | None,
) -> None:
    """``intaglio run``."""
    if not _are_pictures(source, path):
        from intaglio.cli.commands import run_artifact

        given = {"--luma": luma or None, "--threads": threads, "--orientations": orientations}
        for option, value in given.items():
            if value is not None:
                raise RecipeError(
                    f"{option} is for pictures, and {source} is none",
                    remedy="leave it out, or give a folder of pictures",
                )
        run_artifact(output, path, source, result, target, runtime, quantize_io)
        return
    if quantize_io:
        raise RecipeError(
            "--quantize-io is for arrays: pictures hold integers", remedy="leave it out"
        )
    turned = 1 if orientations is None else orientations
    run_folder(output, path, source, result, target, runtime, threads, luma, turned)


def _are_pictures(source: str, path: str) -> bool:
    """Whether picture files are to be run.

    Raises:
        InputError: It is a folder, and the model takes arrays.
    """
    # Of arrays the reader of arrays says it.
    if not Path(source).exists() and Path(source).suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"there is no file {source}", remedy="check the path of --input")
    if not is_pictures(source):
        return False
    from intaglio.plane_runner import takes_pictures

    if not Path(path).exists():
        raise InputError(f"there is no file {path}", remedy="give a bundle or a table network")
    if Path(source).is_dir() and not takes_pictures(path):
        raise InputError(
            f"{source} is a folder, and {path} is no table network, which takes pictures",
            remedy="give an .npy or .npz file; `verify --inputs` takes folders",
        )
    return True


def run_folder(
    output: Output,
    path: str,
    source: str,
    result: str | None,
    target: str | None,
    runtime: str | None,
    threads: int | None,
    luma: bool,
    orientations: int,
) -> None:
    """``intaglio run`` on pictures: exit code 3 where one could not be read.

    Raises:
        RecipeError: There is no place for the results.
        IntaglioError: See :func:`intaglio.picture_runs.run_pictures`.
    """
    from intaglio.picture_runs import run_pictures

    if result is None:
        raise RecipeError("pictures need a place to go", remedy="name a folder with --output DIR")
    with bars(output) as progress:
        found = run_pictures(
            path,
            source,
            result,
            target=target,
            runtime=runtime,
            threads=threads,
            luma=luma,
            orientations=orientations,
            progress=progress,
        )
    output.result(jsonable(found.to_dict()), lambda console: _summary(console, found, result))
    for name, reason in found.bad:
        output.fail(f"{name} {reason}")
    if found.bad:
        raise typer.Exit(InputError.exit_code)


def _summary(console: Console, found: PictureRun, out: str) -> None:
    # A line a figure: in columns they would not fit a narrow terminal.
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in {
        "runtime": found.runtime,
        "planes": "luma" if found.luma else "red, green, blue",
        **({"orientations": str(found.orientations)} if found.orientations > 1 else {}),
        "threads": str(found.threads),
        "pictures": f"{len(found.pictures):,}",
        "bad": f"{len(found.bad):,}",
        "megapixels written": f"{found.megapixels:.3g}",
        "seconds": f"{found.seconds:.3g}",
        "in the network": f"{found.network_fraction:.0%}",
        "megapixels/s": f"{found.megapixels_per_second:.3g}",
    }.items():
        table.add_row(name, text)
    console.print(table)
    noted = [picture for picture in found.pictures if picture.notes]
    for picture in noted[:_SHOWN_NOTES]:
        line = f"{picture.name}: {', '.join(picture.notes)}"
        console.print(line, markup=False, highlight=False)
    if len(noted) > _SHOWN_NOTES:
        console.print(f"and {len(noted) - _SHOWN_NOTES} more with notes", highlight=False)
    if found.pictures:
        console.print(f"written to {out}", markup=False, highlight=False)
