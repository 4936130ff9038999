"""Table networks as emitted C, compiled for this machine and timed.

Everything here that knows how the C of a table network is emitted and called is in
:func:`write_sources` and ``driver.c``.
"""

from __future__ import annotations

import ctypes
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from intaglio.passes.table_networks.read import read_network
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.host import host_variants
from intaglio.targets.c.images.writing import write_images
from intaglio.targets.c.library import library_name, load_library
from intaglio.targets.c.variants import Variant
from intaglio.timing import Contestant, Sample
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import ReferenceNetwork
from numpy.typing import NDArray

from benchmarks.common import MissingDataError, existing, open_session

WIDTH, HEIGHT, FACTOR = 320, 180, 4
_DRIVER = Path(__file__).with_name("driver.c")
_ALIGNMENT = 64
_NAME = "network"

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Sources:
    """Emitted C in a folder.

    Attributes:
        folder: All its ``.c`` files belong to the network.
        name: Prefix of its functions; the header is ``NAME.h``.
        stride: Pixels on a side of a cell.
        upscale: Pixels of the result on a side of a cell.
        working_set: Bytes of tables and of working memory for the widest pictures, by kind of
            kernel.
    """

    folder: Path
    name: str
    stride: int
    upscale: int
    working_set: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Emitted:
    """A network in one kind of kernel, with a number of threads.

    Attributes:
        variant: The kernels.
        contestant: Runs a picture.
        lookups: Table entries that it reads for the picture.
        working_set: Bytes of tables and working memory.
    """

    variant: str
    contestant: PictureContestant
    lookups: int
    working_set: int


class PictureContestant(Contestant):
    """Emitted C on one plane.

    Args:
        library: The compiled driver.
        sources: What it was compiled from.
        picture: The plane.
        threads: Threads that share its rows.

    Attributes:
        result: What the last run computed.
    """

    how = "a loop in C around the network's function"

    def __init__(
        self, library: ctypes.CDLL, sources: Sources, picture: Pixels, threads: int
    ) -> None:
        self._library, self.threads = library, threads
        self._picture = np.ascontiguousarray(picture)
        height, width = picture.shape
        scale, stride = sources.upscale, sources.stride
        self.result = np.zeros((height * scale // stride, width * scale // stride), np.uint8)
        self._cell_rows = -(-height // stride)
        library.driver_scratch_bytes.restype = ctypes.c_size_t
        needed = threads * library.driver_scratch_bytes(width)
        self._scratch = np.zeros(needed + _ALIGNMENT, np.uint8)

    def batch(self, count: int) -> Sample:
        """Runs ``count`` pictures; the mean of them."""
        height, width = self._picture.shape
        start = self._scratch.ctypes.data
        aligned = start + -start % _ALIGNMENT
        wall, processor = time.perf_counter(), time.process_time()
        code = self._library.driver_run(
            ctypes.c_void_p(self._picture.ctypes.data),
            width,
            height,
            ctypes.c_void_p(self.result.ctypes.data),
            self.result.shape[1],
            self._cell_rows,
            self.threads,
            ctypes.c_int64(count),
            ctypes.c_void_p(aligned),
        )
        if code:
            raise RuntimeError("a thread could not be started")
        return Sample(
            (time.perf_counter() - wall) / count, (time.process_time() - processor) / count
        )


def emitted_contestants(file: Path, threads: Sequence[int], folder: Path) -> Iterator[Emitted]:
    """Every kind of kernel that this machine runs, with each number of threads.

    Args:
        file: A table network in ONNX.
        threads: Numbers of threads.
        folder: Where to write and compile; it must not exist yet.

    Raises:
        MissingDataError: It is not there, or is no table network that enlarges by 4.
        ToolError: The C does not compile.
        RuntimeError: The C computes something else than onnxruntime.
    """
    network = read_network(ir.load(existing(file)))
    if network is None:
        raise MissingDataError(f"{file.name} is no table network")
    folder.mkdir(parents=True)
    sources = write_sources(network, folder)
    picture = example(HEIGHT, WIDTH)
    session = open_session(file)
    expected = session.run(None, {session.get_inputs()[0].name: picture[None, None]})[0][0, 0]
    if expected.shape != (FACTOR * HEIGHT, FACTOR * WIDTH):
        raise MissingDataError(f"{file.name} does not enlarge by {FACTOR}")
    cells = -(-HEIGHT // sources.stride) * -(-WIDTH // sources.stride)
    for variant in host_variants():
        library = compile_driver(sources, variant, folder)
        for count in threads:
            contestant = PictureContestant(library, sources, picture, count)
            contestant.batch(1)
            if not np.array_equal(contestant.result, expected):
                raise RuntimeError(
                    f"{file.name}: C ({variant.name}, {count} threads) and onnxruntime differ"
                )
            memory = sources.working_set[variant.name]
            yield Emitted(variant.name, contestant, network.lookups * cells, memory)


def write_sources(network: CentredNetwork | ReferenceNetwork, folder: Path) -> Sources:
    """Writes the C of a network for all processors, as target ``c`` does.

    Args:
        network: The network.
        folder: Where to put a folder of sources.
    """
    written = write_images(network, _NAME)
    place = folder / "sources"
    place.mkdir()
    for name, text in written.files.items():
        (place / name).write_text(text, encoding="utf-8")
    memory = {name: written.constant_bytes[name] + n for name, n in written.scratch_bytes.items()}
    return Sources(place, _NAME, written.structure.stride, written.structure.upscale, memory)


def compile_driver(sources: Sources, variant: Variant, folder: Path) -> ctypes.CDLL:
    """Compiles the driver with a network.

    Args:
        sources: The network.
        variant: Processor to compile for; this machine must run it.
        folder: Where to put the library.

    Raises:
        ToolError: There is no compiler, or it failed.
    """
    name = sources.name
    target = folder / f"{variant.name}_{library_name('driver')}"
    forced = [f"-D{name.upper()}_PORTABLE"] if variant.name == "portable" else []
    command = [
        *require_compiler(), "-std=gnu99", "-O3", "-shared", "-fPIC", "-pthread", *variant.flags,
        *forced, f"-DNETWORK={name}", f'-DNETWORK_HEADER="{name}.h"', f"-I{sources.folder}",
        str(_DRIVER), *map(str, sorted(sources.folder.glob("*.c"))), "-o", str(target),
    ]  # fmt: skip
    compile_files(command, folder)
    return load_library(target)


def example(height: int, width: int) -> Pixels:
    """A picture with edges, slopes and noise, always the same."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    waves = 60 * np.sin(columns / 17 + rows / 29) + 40 * np.sign(np.sin(rows / 11 - columns / 23))
    noise = generator.normal(0, 6, (height, width))
    return np.asarray(np.clip(128 + waves + noise, 0, 255), np.uint8)
