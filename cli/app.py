"""The command line: arguments in, one call of the public API each, tables or JSON out.

This module imports nothing heavy, so that ``--help`` and shell completion answer at once; each
command imports what it needs when it runs.
"""

from __future__ import annotations

import enum
import io
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from intaglio.cli.completion import complete_recipes, complete_targets
from intaglio.cli.output import Output

app = typer.Typer(
    name="intaglio",
    help="Turn trained ONNX and TFLite models into integer-only artifacts, and prove what they "
    "compute.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_JSON = typer.Option("--json", help="Print JSON on stdout and nothing else there.")
_QUIET = typer.Option("--quiet", "-q", help="Print errors only.")
_DEBUG = typer.Option("--debug", help="Show a traceback when something fails.")
_SHAPE = typer.Option(
    "--shape", metavar="NAME=1,3,96,96", help="Bind a symbolic shape of an input. (repeatable)"
)

Json = Annotated[bool, _JSON]
Quiet = Annotated[bool, _QUIET]
Debug = Annotated[bool, _DEBUG]
Shapes = Annotated[list[str] | None, _SHAPE]


class Listing(str, enum.Enum):
    """What ``list`` can list."""

    recipes = "recipes"
    passes = "passes"
    targets = "targets"


class Border(str, enum.Enum):
    """Border of integer artifacts."""

    integer = "integer"
    float = "float"


class Via(str, enum.Enum):
    """What Vela compiles."""

    tflite = "tflite"
    tosa = "tosa"


class Tool(str, enum.Enum):
    """What ``setup`` can install."""

    tosa = "tosa"


class FitTask(str, enum.Enum):
    """What ``fit`` can learn."""

    superres = "superres"
    denoise = "denoise"


def _version(asked: bool) -> None:
    if asked:
        import intaglio

        typer.echo(f"intaglio {intaglio.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def inspect(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An ONNX or TFLite file, or a bundle.")
    ],
    shape: Shapes = None,
    split_points: Annotated[
        bool,
        typer.Option(
            "--split-points",
            help="Show where the model can be cut between a device and a server, and what each "
            "cut costs.",
        ),
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            "-c",
            metavar="DATA",
            help="Samples to estimate the bytes of encoded features on; with --split-points.",
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth",
            metavar="RATE",
            help="From device to server, as in 500kbps or 10Mbit/s; with --split-points. "
            "\\[default: 1Mbps]",
        ),
    ] = None,
    device_gops: Annotated[
        float | None,
        typer.Option(
            "--device-gops",
            metavar="N",
            help="Speed of the device in 10^9 operations a second; with --split-points. "
            "\\[default: 1]",
        ),
    ] = None,
    server_gops: Annotated[
        float | None,
        typer.Option(
            "--server-gops",
            metavar="N",
            help="Speed of the server; with --split-points. \\[default: 100]",
        ),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the cuts as .svg or .png; with --split-points."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show operators, shapes, parameters, multiply-accumulates and bytes of a model."""
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.commands import run_inspect

        run_inspect(
            output,
            model,
            shape or [],
            split_points=split_points,
            calibration=calibration,
            bandwidth=bandwidth,
            device_gops=device_gops,
            server_gops=server_gops,
            plot=plot,
        )


@app.command()
def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX or TFLite file.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="A recipe, several joined by commas, or the path of a .toml file.",
            autocompletion=complete_recipes,
        ),
    ] = "int8",
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="What to write: onnx-qdq, onnx-integer, tflite, c, tosa, ethos-u; else what the "
            "recipe names, most often the first two. "
            "(repeatable)",
            autocompletion=complete_targets,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            "-c",
            metavar="DATA",
            help="Real inputs: .npz, .npy, a folder of images or of wav files.",
        ),
    ] = None,
    random_calibration: Annotated[
        bool,
        typer.Option(
            "--random-calibration",
            help="Calibrate on random numbers: for trials only, accuracy will be poor.",
        ),
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="PASS.OPTION=VALUE",
            help="Set any option; `intaglio list passes` shows them. (repeatable)",
        ),
    ] = None,
    shape: Shapes = None,
    io: Annotated[
        Border | None,
        typer.Option("--io", help="Inputs and outputs of integer artifacts."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="FILE", help="Replay the plan.json of a bundle."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Recipe lut: put tables in the place of layers where that does not pay."
        ),
    ] = False,
    split_at: Annotated[
        str | None,
        typer.Option(
            "--split-at",
            metavar="NAME|A,B|auto",
            help="Recipe split: the tensor or node to cut at, two of them, or auto (the least "
            "time a sample). `intaglio inspect --split-points` lists them.",
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth",
            metavar="1Mbps",
            help="From device to server; with --split-at auto.",
        ),
    ] = None,
    device_gops: Annotated[
        float | None,
        typer.Option(
            "--device-gops",
            help="Speed of the device in 10^9 operations a second; with --split-at auto.",
        ),
    ] = None,
    server_gops: Annotated[
        float | None,
        typer.Option("--server-gops", help="Speed of the server; with --split-at auto."),
    ] = None,
    bits_per_element: Annotated[
        float | None,
        typer.Option(
            "--bits-per-element",
            help="Recipe split: bits that an element of the features may take; else as few as "
            "the outputs allow.",
        ),
    ] = None,
    via: Annotated[
        Via | None,
        typer.Option(
            "--via", help="Target ethos-u: the format that Vela is given. [default: tflite]"
        ),
    ] = None,
    keep_steps: Annotated[
        bool, typer.Option("--keep-steps", help="Save the model after every step.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a model: write a bundle of integer-only artifacts."""
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.commands import run_convert, split_texts

        run_convert(
            output,
            model=model,
            out=out,
            recipe=recipe,
            targets=target,
            calibration=calibration,
            random_calibration=random_calibration,
            settings=[
                *(setting or []),
                *([f"io={io.value}"] if io else []),
                *([f"ethos-u.via={via.value}"] if via else []),
                *(["tables.substitute_convolutions.force=true"] if force else []),
                *split_texts(
                    recipe,
                    at=split_at,
                    bandwidth=bandwidth,
                    device_gops=device_gops,
                    server_gops=server_gops,
                    bits_per_element=bits_per_element,
                ),
            ],
            shapes=shape or [],
            plan=plan,
            keep_steps=keep_steps,
        )


@app.command()
def verify(
    bundle: Annotated[str, typer.Argument(metavar="DIR", help="A bundle.")],
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            "-i",
            metavar="DATA",
            help="Inputs to compare on, with labels for accuracy; else those in the bundle.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", "-n", min=1, help="Use only so many of the inputs."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Accuracy as top1, psnr or mse."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="exact|lsb=N|sqnr=DB", help="Fail unless so. (repeatable)"
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare all artifacts of a bundle with each other and with the float model."""
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.commands import run_verify

        run_verify(output, bundle, inputs, samples, metric, require or [])


@app.command()
def run(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="DIR|ARTIFACT", help="A bundle, an artifact, an ONNX or a TFLite file."
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="x.npy|x.npz|DIR|PNG",
            help="Arrays to feed; for a table network a folder of pictures, or one.",
        ),
    ],
    result: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="y.npy|y.npz|DIR|PNG",
            help="File to write; a folder for pictures.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="Which artifact of a bundle; `source` is the float model.",
            autocompletion=complete_targets,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="What runs it, such as tflm or c@avx2; else the first that the target knows.",
        ),
    ] = None,
    quantize_io: Annotated[
        bool,
        typer.Option(
            "--quantize-io", help="Take and give real values at integer inputs and outputs."
        ),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads for pictures; else one for each processor."),
    ] = None,
    luma: Annotated[
        bool,
        typer.Option(
            "--luma", help="Run pictures in color on luma only; the rest is interpolated."
        ),
    ] = False,
    orientations: Annotated[
        int | None,
        typer.Option(
            "--orientations",
            help="Mean over so many turned and mirrored pictures, 1, 2, 4 or 8: better, slower.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run one artifact on arrays from a file, or a table network on pictures.

    Pictures are PNG, JPEG, BMP, TIFF, WebP or PPM files; results are PNG files. Those that cannot
    be read are named and the rest is done (exit code 3).
    """
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.pictures import run_any

        run_any(
            output,
            artifact,
            source,
            result,
            target=target,
            runtime=runtime,
            quantize_io=quantize_io,
            threads=threads,
            luma=luma,
            orientations=orientations,
        )


@app.command()
def bench(
    bundle: Annotated[str, typer.Argument(metavar="DIR", help="A bundle.")],
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            "-b",
            help="Count instructions of the C on an emulated cortex-m4, cortex-m7 or cortex-m55 "
            "instead. (repeatable)",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Threads for the runtimes that can use several; else one."
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            "-n",
            min=1,
            help="Time each artifact so often at most (100); on a board, run so many inputs (3).",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure how fast the artifacts of a bundle run, here or on an emulated microcontroller.

    All artifacts take turns, so that what else happens on the machine slows all of them. Beside
    each time stands how many times as fast it is as onnxruntime and LiteRT on the same model.
    """
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.commands import run_bench

        run_bench(output, bundle, board or [], threads, runs)


@app.command()
def train(
    bundle: Annotated[
        str, typer.Argument(metavar="DIR", help="A bundle of the recipe forward-gradient.")
    ],
    data: Annotated[
        str, typer.Option("--data", "-d", metavar="F.npz", help="Samples and labels to train on.")
    ],
    validate: Annotated[
        str | None,
        typer.Option(
            "--validate", "-v", metavar="F.npz", help="Others, to choose the best weights by."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write; else DIR-adapted."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", "-n", help="Steps of the whole run.")] = 1000,
    batch: Annotated[int, typer.Option("--batch", "-b", help="Samples a step sees.")] = 16,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the perturbations and the samples' order.")
    ] = 1,
    halve_every: Annotated[
        int, typer.Option("--halve-every", help="Halve the step every so many steps; 0: never.")
    ] = 0,
    validate_every: Annotated[
        int, typer.Option("--validate-every", help="Validate every so many steps.")
    ] = 100,
    patience: Annotated[
        int,
        typer.Option(
            "--patience", help="Stop after so many validations without a better one; 0: never."
        ),
    ] = 0,
    checkpoint_every: Annotated[
        int, typer.Option("--checkpoint-every", help="Save all weights every so many steps.")
    ] = 500,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="Train with c or onnx-integer; else the first that runs here.",
            autocompletion=complete_targets,
        ),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="What runs it, such as avx2 or portable.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    transcript: Annotated[
        str | None,
        typer.Option("--transcript", metavar="FILE", help="Write the run's transcript there, too."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a bundle on labelled samples, in integers, and write the adapted model as a bundle.

    Every step is on disk before the next begins: after a kill at any moment, --resume goes on and
    comes to the same bits.
    """
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.training import run_train

        run_train(
            output,
            bundle,
            data,
            validate=validate,
            out=out,
            steps=steps,
            batch=batch,
            seed=seed,
            halve_every=halve_every,
            validate_every=validate_every,
            patience=patience,
            checkpoint_every=checkpoint_every,
            target=target,
            runtime=runtime,
            resume=resume,
            transcript=transcript,
        )


@app.command()
def replay(
    bundle: Annotated[
        str, typer.Argument(metavar="DIR", help="The bundle that the training began from.")
    ],
    transcript: Annotated[
        str, typer.Argument(metavar="TRANSCRIPT", help="What train wrote: transcript.bin.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rebuild an adapted model from a training transcript, bit for bit and without data."""
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.training import run_replay

        run_replay(output, bundle, transcript, out)


@app.command()
def fit(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Folders of pictures: what the network shall make."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")],
    task: Annotated[FitTask, typer.Option("--task", help="What to restore.")] = FitTask.superres,
    scale: Annotated[
        int | None, typer.Option("--scale", help="Factor of super-resolution: 2, 3 or 4.")
    ] = None,
    sigma: Annotated[
        int | None, typer.Option("--sigma", help="Noise to remove: 15, 25 or 50.")
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="small, medium, large, tiny-s or tiny-f.")
    ] = "medium",
    steps: Annotated[
        int | None, typer.Option("--steps", "-n", help="Steps of the whole run; else 20000.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Instead of steps: as many as take so long here."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the first weights and the crops.")] = 1,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation", "-v", metavar="DIR", help="Pictures to validate on; else some of DIR."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="MODEL", help="ONNX model to imitate, too."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="MODEL", help="Begin with the network of an earlier run."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads that compute; else all processors.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change the preset. (repeatable)"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a network of look-up tables from pictures: super-resolution or denoising.

    It needs PyTorch. The model that comes out holds integers only and computes exactly what was
    trained.
    """
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.fitting import run_fit

        run_fit(
            output,
            data,
            out,
            task=task.value,
            scale=scale,
            sigma=sigma,
            preset=preset,
            steps=steps,
            minutes=minutes,
            seed=seed,
            validation=validation,
            teacher=teacher,
            start=start,
            threads=threads,
            settings=settings or (),
            resume=resume,
        )


@app.command("list")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List recipes, passes with their options, or targets."""
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.commands import run_list

        run_list(output, what.value)


@app.command()
def setup(
    tool: Annotated[Tool, typer.Argument(help="What to install.")],
    path: Annotated[
        str | None,
        typer.Option("--path", "-p", metavar="DIR", help="Where to; else the user's cache."),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="FILE", help="Python to make the environment with."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Install an outside tool in a Python environment of its own.

    tosa: the TOSA reference model, which runs what target tosa writes. It comes from PyPI.
    """
    with Output(as_json, quiet, debug) as output:
        from intaglio.cli.setup import run_setup_tosa

        run_setup_tosa(output, path, python, force=force)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Leaves like an error would, so that temporary folders are removed."""
    _silence_finalizers()
    raise SystemExit(128 + signum)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """As Python does it on Ctrl-C."""
    _silence_finalizers()
    raise KeyboardInterrupt


def _silence_finalizers() -> None:
    """What a signal stops half made, such as a file in a zip, complains when it goes: not said."""
    sys.unraisablehook = lambda unraisable: None


def main() -> None:
    """Entry point of the ``intaglio`` program."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Not where Ctrl-C is ignored, as for jobs in the background.
        signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A terminal without a character for "×" gets a question mark, not a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="intaglio")


if __name__ == "__main__":
    main()
