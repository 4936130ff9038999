"""What each command does: parse text arguments, call the public API, hand over the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

import intaglio
from intaglio.benchmarking import bench_bundle
from intaglio.benchmarking_boards import bench_boards
from intaglio.bundle import MANIFEST
from intaglio.bundle_files import jsonable
from intaglio.catalog import describe_passes, describe_recipes, describe_targets
from intaglio.cli import tables
from intaglio.cli.bars import bars
from intaglio.cli.output import Output
from intaglio.errors import RecipeError, VerificationError
from intaglio.inspection import inspect_bundle
from intaglio.running import (
    check_output_name,
    open_runnable,
    read_inputs,
    run_batched,
    write_outputs,
)
from intaglio.split_options import split_settings

# Larger outputs are not printed as JSON values; --output writes them.
_MOST_VALUES = 10_000

# What `bench` does unless told otherwise.
_TIMED_RUNS, _BOARD_RUNS = 100, 3


def run_inspect(
    output: Output,
    path: str,
    shapes: Sequence[str],
    *,
    split_points: bool = False,
    calibration: str | None = None,
    bandwidth: str | None = None,
    device_gops: float | None = None,
    server_gops: float | None = None,
    plot: str | None = None,
) -> None:
    """``intaglio inspect``."""
    wanted = {
        "--calibration": calibration,
        "--bandwidth": bandwidth,
        "--device-gops": device_gops,
        "--server-gops": server_gops,
        "--plot": plot,
    }
    for option, value in wanted.items():
        if value is not None and not split_points:
            raise RecipeError(
                f"{option} has no meaning without --split-points",
                remedy=f"leave {option} out, or add --split-points",
            )
    is_bundle = (Path(path) / MANIFEST).is_file()
    if split_points:
        if is_bundle:
            raise RecipeError(
                "--split-points looks at a model, and this is a bundle",
                remedy="give the model that the bundle was made from",
            )
        link = {"bandwidth": bandwidth, "device_gops": device_gops, "server_gops": server_gops}
        given = {name: value for name, value in link.items() if value is not None}
        _inspect_split_points(output, path, shapes, calibration, plot, given)
        return
    if is_bundle:
        data = inspect_bundle(path)
        output.result(jsonable(data), lambda console: tables.bundle(console, data))
        return
    found = intaglio.inspect_model(path, parse_shapes(shapes))
    for warning in found.warnings:
        output.warn(warning)
    output.result(jsonable(found.to_dict()), lambda console: tables.model(console, found))


def _inspect_split_points(
    output: Output,
    path: str,
    shapes: Sequence[str],
    calibration: str | None,
    plot: str | None,
    link: Mapping[str, Any],
) -> None:
    from intaglio.report.split_points import check_plot_path, plot_split_points
    from intaglio.split_points import find_split_points

    if plot is not None:
        check_plot_path(plot)
    found = find_split_points(path, parse_shapes(shapes), calibration, **link)
    if plot is not None:
        plot_split_points(found, plot)
    output.result(
        jsonable({**found.to_dict(), "plot": plot}),
        lambda console: tables.split_points(console, found, plot),
    )


def run_convert(
    output: Output,
    *,
    model: str,
    out: str,
    recipe: str,
    targets: Sequence[str] | None,
    calibration: str | None,
    random_calibration: bool,
    settings: Sequence[str],
    shapes: Sequence[str],
    plan: str | None,
    keep_steps: bool,
) -> None:
    """``intaglio convert``."""
    with bars(output) as progress:
        bundle = intaglio.convert(
            model,
            recipe,
            targets or None,
            calibration,
            out,
            sets=settings,
            shapes=parse_shapes(shapes),
            plan=plan,
            random_calibration=random_calibration,
            keep_steps=keep_steps,
            progress=progress,
        )
    if random_calibration:
        output.warn("calibrated on random numbers: accuracy means nothing; give --calibration DATA")
    for warning in bundle.manifest.get("warnings", []):
        output.warn(warning)
    done = bundle.conversion
    extra: dict[str, Any] = {}
    if done is not None:
        extra = {
            "seconds": done.seconds,
            "peak_memory_bytes": done.peak_memory_bytes,
            "facts": done.facts,
        }
    output.result(
        jsonable({**bundle.manifest, **extra}),
        lambda console: tables.conversion(console, bundle),
    )


def run_verify(
    output: Output,
    folder: str,
    inputs: str | None,
    samples: int | None,
    metric: str | None,
    require: Sequence[str],
) -> None:
    """``intaglio verify``: exit code 5 where something is not as it should be."""
    with bars(output) as progress:
        report = intaglio.verify(
            intaglio.load(folder),
            inputs=inputs,
            samples=samples,
            metric=metric,
            require=require,
            progress=progress,
        )
    output.result(report.to_dict(), lambda console: tables.verification(console, report))
    if not report.ok:
        if output.quiet:
            for failure in report.failures:
                output.fail(failure)
        raise typer.Exit(VerificationError.exit_code)


def run_artifact(
    output: Output,
    path: str,
    source: str,
    result: str | None,
    target: str | None,
    runtime: str | None,
    quantize_io: bool,
) -> None:
    """``intaglio run``."""
    session = open_runnable(path, target, runtime=runtime, quantize_io=quantize_io)
    if result is not None:
        check_output_name(Path(result), len(session.artifact.outputs))
    arrays = read_inputs(source, session.artifact.inputs)
    outputs = run_batched(session, arrays)
    if result is not None:
        write_outputs(result, outputs)
    data = {
        "artifact": session.artifact.path,
        "outputs": {
            name: {
                "shape": list(array.shape),
                "dtype": array.dtype.name,
                "values": array if result is None and array.size <= _MOST_VALUES else None,
            }
            for name, array in outputs.items()
        },
        "written": result,
    }
    output.result(jsonable(data), lambda console: tables.outputs(console, outputs, result))


def run_bench(
    output: Output, folder: str, boards: Sequence[str], threads: int | None, runs: int | None
) -> None:
    """``intaglio bench``: exit code 5 where a board gives other bits than it should."""
    bundle = intaglio.load(folder)
    if not boards:
        with bars(output) as progress:
            timed = bench_bundle(
                bundle, threads=threads or 1, runs=runs or _TIMED_RUNS, progress=progress
            )
        output.result(jsonable(timed.to_dict()), lambda console: tables.timed(console, timed))
        return
    if threads is not None:
        raise RecipeError(
            "--threads has no meaning on a board", remedy="leave --threads or --board out"
        )
    with bars(output) as progress:
        counted = bench_boards(bundle, boards, runs=runs or _BOARD_RUNS, progress=progress)
    output.result(
        jsonable({"boards": [each.to_dict() for each in counted]}),
        lambda console: tables.counted(console, counted),
    )
    wrong = [each for each in counted if each.run.differing]
    for each in wrong:
        output.fail(
            f"{each.artifact} on {each.run.board}: {each.run.differing} output values have other "
            f"bits than in {each.compared_with}"
        )
    if wrong:
        raise typer.Exit(VerificationError.exit_code)


def run_list(output: Output, what: str) -> None:
    """``intaglio list``."""
    describe = {
        "recipes": describe_recipes,
        "passes": describe_passes,
        "targets": describe_targets,
    }[what]
    rows = describe()
    output.result(jsonable({what: rows}), lambda console: tables.listing(console, what, rows))


def split_texts(recipe: str, **options: Any) -> list[str]:
    """Options of a cut as ``--set`` texts; see :func:`intaglio.split_options.split_settings`.

    Raises:
        RecipeError: The recipe does not cut models, or the options contradict each other.
    """
    # What JSON quotes, TOML reads: a name stays a name, whatever it looks like.
    return [
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in split_settings(recipe, **options).items()
    ]


def parse_shapes(texts: Sequence[str]) -> dict[str, list[int]]:
    """Reads ``NAME=1,3,96,96``.

    Raises:
        RecipeError: A text is not of that form.
    """
    shapes = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            shape = [int(number) for number in numbers.split(",")]
        except ValueError:
            shape = []
        if not name or not shape or min(shape) < 1:
            raise RecipeError(
                f"'{text}' is not a shape", remedy="write it as --shape NAME=1,3,96,96"
            )
        shapes[name] = shape
    return shapes
