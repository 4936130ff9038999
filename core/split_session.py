"""Device and server of a split bundle as one object: inputs in, frames between, outputs out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from intaglio.bundle import Bundle, BundleSession, load
from intaglio.errors import InputError, RecipeError, ToolError
from intaglio.running import run_batched
from intaglio.split_parts import DEVICE, MANIFEST_KEY, SERVER, SERVER_TARGET, SPLIT_JSON
from intaglio.targets.base import Artifact, Tensors
from intaglio.transforms.split.frames import Frame, FrameError, FrameFault, read_frame, write_frame
from intaglio.transforms.split.specification import CodecSpecification

#: Most samples of a frame that a session accepts unless told otherwise.
LARGEST_SAMPLES = 1024

#: Most samples that any frame holds.
MOST_SAMPLES = 65535

#: Kind of a frame that carries features.
FEATURE = 0

CODERS = ("c", "numpy")

_SEND_WHAT_DEVICE_GAVE = "send what the device's part of the same bundle gives, whole"


class Coder(Protocol):
    """What packs codes into frames and back; all coders give the same bytes."""

    def write_frame(
        self, codes: NDArray[np.uint8], ranges: NDArray[np.int8], kind: int = FEATURE
    ) -> bytes:
        """A frame of codes ``[N, codes]`` and ranges ``[N, side_bytes]``."""

    def read_frame(self, data: bytes, largest_samples: int) -> Frame:
        """What is in a frame; raises :class:`FrameError`."""


class NumpyCoder:
    """The definition of the coder, in numpy.

    Args:
        specification: The codec.
    """

    name = "numpy"

    def __init__(self, specification: CodecSpecification) -> None:
        self._specification = specification

    def write_frame(
        self, codes: NDArray[np.uint8], ranges: NDArray[np.int8], kind: int = FEATURE
    ) -> bytes:
        """See :func:`intaglio.transforms.split.frames.write_frame`."""
        return write_frame(self._specification, codes, ranges, kind)

    def read_frame(self, data: bytes, largest_samples: int) -> Frame:
        """See :func:`intaglio.transforms.split.frames.read_frame`."""
        return read_frame(self._specification, data, largest_samples)


def open_coder(specification: CodecSpecification, name: str | None = None) -> Coder:
    """Opens a coder.

    Args:
        specification: The codec.
        name: ``c`` (compiled now) or ``numpy``; None for C, or numpy with a warning where nothing
            compiles it.

    Raises:
        RecipeError: There is no such coder.
        ToolError: There is no C compiler, or it failed.
    """
    if name not in (None, *CODERS):
        raise RecipeError(f"there is no coder '{name}'", remedy=f"use {' or '.join(CODERS)}")
    if name == "numpy":
        return NumpyCoder(specification)
    from intaglio.targets.c.split.library import Coder as CompiledCoder

    try:
        return CompiledCoder(specification)
    except ToolError as error:
        if name is not None:
            raise
        warnings.warn(
            f"frames are coded in numpy, which is slow: {error.message}", RuntimeWarning, 2
        )
        return NumpyCoder(specification)


class SplitSession:
    """Device, coder and server of a bundle.

    Args:
        specification: The codec.
        device: The device's part.
        server: The server's part.
        coder: What writes and reads frames.
        largest_samples: Most samples of a frame that the server accepts.

    Attributes:
        specification: The codec.
        coder: As given.
        largest_samples: As given.
    """

    def __init__(
        self,
        specification: CodecSpecification,
        device: BundleSession,
        server: BundleSession,
        coder: Coder,
        largest_samples: int = LARGEST_SAMPLES,
    ) -> None:
        self.specification = specification
        self.coder = coder
        self.largest_samples = largest_samples
        self._device = device
        self._server = server

    def device(self, inputs: Tensors) -> bytes:
        """What the device sends for a batch.

        Args:
            inputs: Array by input name, as the device's artifact takes them; first axis samples.

        Returns:
            One frame.

        Raises:
            InputError: The inputs do not fit the model.
        """
        codes, ranges = self.codes(inputs)
        if not 1 <= len(codes) <= MOST_SAMPLES:
            raise InputError(
                f"a frame holds 1 to {MOST_SAMPLES} samples, not {len(codes)}",
                remedy="send them in several frames" if len(codes) else "give a sample",
            )
        return self.coder.write_frame(codes, ranges)

    def codes(self, inputs: Tensors) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Codes ``[N, codes]`` and dynamic ranges ``[N, side_bytes]`` of a batch, not in a frame.

        Raises:
            InputError: The inputs do not fit the model.
        """
        return wire_tensors(self._device.artifact, run_batched(self._device, inputs))

    def server(self, frame: bytes) -> dict[str, NDArray[Any]]:
        """What the server makes of a frame.

        Args:
            frame: What :meth:`device` gave, or what came over a wire.

        Returns:
            Array by output name.

        Raises:
            InputError: It is no frame of this codec, or a damaged one.
        """
        return self.decode(self.open_frame(frame))

    def open_frame(self, frame: bytes) -> Frame:
        """Checks a frame and takes it apart.

        Raises:
            InputError: It is no frame of this codec, or a damaged one.
        """
        if not isinstance(frame, bytes | bytearray | memoryview):
            raise InputError(
                f"a frame is bytes, not {type(frame).__name__}", remedy=_SEND_WHAT_DEVICE_GAVE
            )
        try:
            found = self.coder.read_frame(bytes(frame), self.largest_samples)
        except FrameError as error:
            remedy = _SEND_WHAT_DEVICE_GAVE
            if error.fault == FrameFault.SAMPLES:
                remedy = (
                    f"send at most {self.largest_samples} samples in a frame, or open the bundle "
                    "with a larger largest_samples"
                )
            raise InputError(f"the frame cannot be taken: {error}", remedy=remedy) from error
        if found.kind != FEATURE:
            raise InputError(
                f"the frame is of kind {found.kind}, not one of features",
                remedy=_SEND_WHAT_DEVICE_GAVE,
            )
        return found

    def decode(self, frame: Frame) -> dict[str, NDArray[Any]]:
        """What the server's part makes of the codes of a frame."""
        feed = feed_of(self._server.artifact, frame.codes, frame.ranges)
        return run_batched(self._server, feed)

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Device, frame and server one after the other; arguments and result as theirs."""
        return self.server(self.device(inputs))


def wire_tensors(
    artifact: Artifact, outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Outputs of a device's artifact as codes ``[N, codes]`` and ranges ``[N, side_bytes]``."""
    codes, *more = (np.ascontiguousarray(outputs[spec.name]) for spec in artifact.outputs)
    return codes.view(np.uint8), more[0] if more else np.zeros((len(codes), 0), np.int8)


def feed_of(
    artifact: Artifact, codes: NDArray[np.uint8], ranges: NDArray[np.int8]
) -> dict[str, NDArray[Any]]:
    """Codes and ranges as a server's artifact takes them."""
    names = [spec.name for spec in artifact.inputs]
    return dict(zip(names, (codes.view(np.int8), ranges), strict=False))


def read_specification(bundle: Bundle) -> CodecSpecification:
    """The codec of a split bundle.

    Raises:
        RecipeError: The bundle is whole.
        InputError: The specification is missing or damaged.
    """
    if MANIFEST_KEY not in bundle.manifest:
        raise RecipeError(
            f"the model of bundle {bundle.folder} is whole",
            remedy="convert it with --recipe split",
        )
    path = bundle.folder / SPLIT_JSON
    try:
        return CodecSpecification.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", remedy="convert the model again") from error


def open_split(
    bundle: Bundle | str | Path,
    target: str | None = None,
    *,
    runtime: str | None = None,
    quantize_io: bool = False,
    coder: str | None = None,
    largest_samples: int = LARGEST_SAMPLES,
) -> SplitSession:
    """Opens a split bundle for running.

    Args:
        bundle: The bundle, or its folder.
        target: Target of the device's part; None for ``onnx-integer``, or the first there is.
        runtime: What runs the device's part.
        quantize_io: Take and give real values at integer inputs and outputs.
        coder: ``c`` or ``numpy``; None for C where it can be compiled.
        largest_samples: Most samples of a frame that the server accepts.

    Raises:
        RecipeError: The bundle is not split, or has no such artifact.
        InputError: A file is missing or damaged.
        ToolError: A runtime or, where it was asked for, the C compiler failed.
    """
    opened = bundle if isinstance(bundle, Bundle) else load(bundle)
    specification = read_specification(opened)
    chosen = target or device_targets(opened)[0]
    return SplitSession(
        specification,
        opened.session(chosen, DEVICE, runtime=runtime, quantize_io=quantize_io),
        opened.session(SERVER_TARGET, SERVER, quantize_io=quantize_io),
        open_coder(specification, coder),
        largest_samples,
    )


def device_targets(bundle: Bundle) -> Sequence[str]:
    """Targets with a device's part, the one to prefer first."""
    found = [artifact.target for artifact in bundle.artifacts if artifact.role == DEVICE]
    if not found:
        raise InputError(
            f"the manifest of {bundle.folder} names no device's part",
            remedy="convert the model again",
        )
    return sorted(found, key=lambda name: name != SERVER_TARGET)
