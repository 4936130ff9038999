"""A table network on picture files: folders, threads, and what happens to bad files.

Red, green and blue are run apart, which is what these networks are fitted for; or luma alone, with
the color differences enlarged by bicubic interpolation. Transparency is always interpolated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.bundle_files import cannot_write
from intaglio.errors import InputError, RecipeError
from intaglio.fitting.picture_files import Picture, read_picture
from intaglio.picture_jobs import Job, find_jobs
from intaglio.pictures import write_picture
from intaglio.plane_runner import PlaneRunner, TurningRunner, open_planes
from intaglio.processors import processors
from intaglio.progress import Progress, silent
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import (
    rgb_to_ycbcr,
    rounded_luma,
    to_pixels,
    ycbcr_to_rgb,
)
from intaglio.transforms.images.orientations import COUNTS

Plane = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class PictureResult:
    """One picture that was written.

    Attributes:
        name: Its path below the folder given.
        written: Path of the PNG file.
        size: Height and width of the source.
        result_size: Height and width of what was written.
        seconds: Time spent on it, reading and writing included.
        network_seconds: Time that the network took of it.
        notes: What was changed on reading.
    """

    name: str
    written: str
    size: tuple[int, int]
    result_size: tuple[int, int]
    seconds: float
    network_seconds: float
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PictureRun:
    """What was done with a folder.

    Attributes:
        runtime: What ran the network.
        threads: Threads used at most.
        luma: Whether only luma went through it.
        orientations: How many orientations of a picture the result is the mean of.
        pictures: Those written, by name.
        bad: Name and reason of those that could not be read; a sentence together.
        seconds: Time on the wall, reading and writing included.
    """

    runtime: str
    threads: int
    luma: bool
    orientations: int
    pictures: tuple[PictureResult, ...]
    bad: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def megapixels(self) -> float:
        """Pixels written, in millions."""
        return sum(p.result_size[0] * p.result_size[1] for p in self.pictures) / 1e6

    @property
    def network_fraction(self) -> float:
        """Part of the threads' time that the network took; the rest is reading and writing."""
        spent = sum(picture.seconds for picture in self.pictures)
        return sum(p.network_seconds for p in self.pictures) / spent if spent > 0 else 0.0

    @property
    def megapixels_per_second(self) -> float:
        """Likewise a second."""
        return self.megapixels / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-friendly data."""
        return {
            **dataclasses.asdict(self),
            "bad": [{"name": name, "reason": reason} for name, reason in self.bad],
            "megapixels": self.megapixels,
            "network_fraction": self.network_fraction,
            "megapixels_per_second": self.megapixels_per_second,
        }


def run_pictures(
    path: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    target: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    luma: bool = False,
    orientations: int = 1,
    progress: Progress = silent,
) -> PictureRun:
    """Upscales or denoises pictures.

    Args:
        path: A bundle, an artifact of one, or an ONNX file that is a table network.
        source: A picture or a folder of pictures.
        out: Folder for the results; for one picture a ``.png`` file, too.
        target: Which artifact of a bundle.
        runtime: What runs it, such as ``c@avx2`` or ``onnxruntime``.
        threads: Threads to use; None for one a processor. They do not change a bit.
        luma: Run the network on luma only.
        orientations: Run it on so many orientations of each picture and take the mean: 1, 2, 4
            or 8.
        progress: Listener.

    Returns:
        What was written, and which files could not be read.

    Raises:
        InputError: There is no picture, or no table network.
        RecipeError: The arguments make no sense.
        OutputError: A result cannot be written.
        ToolError: The compiler failed.
    """
    if threads is not None and threads < 1:
        raise RecipeError(f"--threads {threads} leaves nothing to run", remedy="give 1 or more")
    if orientations not in COUNTS:
        raise RecipeError(
            f"there is no mean of {orientations} orientations", remedy="give 1, 2, 4 or 8"
        )
    count = threads or processors()
    jobs = find_jobs(source, out)
    progress("open", 0, None)
    runner = open_planes(path, target, runtime, count)
    if orientations > 1:
        runner = TurningRunner(runner, orientations)
    for folder in dict.fromkeys(job.result.parent for job in jobs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
    start = time.perf_counter()
    done, bad = _run_all(jobs, runner, count, luma, progress)
    return PictureRun(
        runner.name,
        count,
        luma,
        orientations,
        tuple(sorted(done, key=lambda result: result.name)),
        tuple(sorted(bad)),
        time.perf_counter() - start,
    )


def process(picture: Picture, run: Callable[[Plane], Plane], luma: bool = False) -> Picture:
    """Runs a network on a picture.

    Args:
        picture: The picture.
        run: The network on one plane.
        luma: Y of BT.601 goes through the network; Cb and Cr are interpolated.

    Returns:
        The result, as large as the network makes it.

    Raises:
        InputError: The picture is too small for there to be a result.
    """
    if luma and len(picture.planes) == 3:
        pixels = picture.planes.transpose(1, 2, 0)
        bright = run(rounded_luma(pixels))
        _require_pixels(bright)
        tinted = _resized(to_pixels(rgb_to_ycbcr(pixels)[..., 1:]), bright.shape)
        planes = to_pixels(ycbcr_to_rgb(np.dstack([bright, tinted]))).transpose(2, 0, 1)
    else:
        results = [run(plane) for plane in picture.planes]
        _require_pixels(results[0])
        planes = np.stack(results)
    alpha = picture.alpha
    if alpha is not None:
        alpha = _resized(alpha, planes.shape[1:])
    return dataclasses.replace(picture, planes=planes, alpha=alpha)


def _run_all(
    jobs: Sequence[Job], runner: PlaneRunner, threads: int, luma: bool, progress: Progress
) -> tuple[list[PictureResult], list[tuple[str, str]]]:
    # Whole pictures side by side where there are enough of them; threads that are left split
    # each into bands.
    at_once = min(threads, len(jobs)) if runner.pictures_at_once else 1
    each = max(1, threads // at_once)
    done: list[PictureResult] = []
    bad: list[tuple[str, str]] = []
    progress("pictures", 0, len(jobs))
    with ThreadPoolExecutor(at_once) as pool:
        futures = {pool.submit(_run_one, job, runner, each, luma): job for job in jobs}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                try:
                    done.append(future.result())
                except InputError as error:
                    job = futures[future]
                    bad.append((job.name, error.message.removeprefix(f"{job.source} ")))
                progress("pictures", number, len(jobs))
        except BaseException:
            # A full disk or Ctrl-C: what has not begun is not begun any more.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done, bad


def _run_one(job: Job, runner: PlaneRunner, threads: int, luma: bool) -> PictureResult:
    start, in_network = time.perf_counter(), 0.0
    picture = read_picture(job.source)

    def run(plane: Plane) -> Plane:
        nonlocal in_network
        before = time.perf_counter()
        found = runner.run(plane, threads)
        in_network += time.perf_counter() - before
        return found

    result = process(picture, run, luma)
    write_picture(job.result, result)
    return PictureResult(
        job.name,
        str(job.result),
        picture.size,
        result.size,
        time.perf_counter() - start,
        in_network,
        picture.notes,
    )


def _resized(image: Plane, size: tuple[int, ...]) -> Plane:
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return resize_bicubic(image, (height, width))


def _require_pixels(plane: Plane) -> None:
    if plane.size == 0:
        raise InputError("is too small: nothing is left of it", remedy="leave it out")
