"""The one function of an emitted device, from input to frame, against the coder in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import IntaglioError, ToolError
from intaglio.split_session import NumpyCoder
from intaglio.targets.base import Artifact
from intaglio.targets.c.sender import Sender
from intaglio.transforms.split.specification import CodecSpecification
from intaglio.verification.inputs import Batch
from intaglio.verification.runs import Side

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

#: Samples that are sent.
SENT = 16


class Sending:
    """Calls the function for the first samples.

    Args:
        bundle: The bundle.
        artifact: The device's artifact of target ``c``.
        side: The same, for its inputs' layouts.
        codec: The codec.

    Attributes:
        sent: Frames that were compared.
        failure: What is wrong, or None.
        warning: Why it was not called, or None.
    """

    def __init__(
        self, bundle: Bundle, artifact: Artifact, side: Side, codec: CodecSpecification
    ) -> None:
        self.sent = 0
        self.failure: str | None = None
        self.warning: str | None = None
        self._coder = NumpyCoder(codec)
        self._side = side
        first = artifact.inputs[0].shape[0]
        self._rows = first if isinstance(first, int) else 1
        try:
            self._sender = Sender(artifact, bundle.folder)
        except ToolError as error:
            self.warning = f"the emitted function to send was not called: {error}"
        except IntaglioError as error:
            self.failure = f"the emitted function to send cannot be called: {error}"

    def add(
        self, batch: Batch, codes: NDArray[np.uint8], ranges: NDArray[np.int8], known: Any
    ) -> None:
        """Sends the samples of a batch and compares the frames.

        Args:
            batch: The samples.
            codes: Their codes, by the definition.
            ranges: Their ranges.
            known: Quantization of the inputs.
        """
        if self.failure or self.warning:
            return
        feed = self._side.feed(batch.inputs, known)
        rows = self._rows
        for start in range(0, len(codes) - rows + 1, rows):
            if self.sent >= SENT:
                return
            part = slice(start, start + rows)
            wanted = self._coder.write_frame(codes[part], ranges[part])
            result, frame = self._sender.call({name: each[part] for name, each in feed.items()})
            self.sent += 1
            if frame != wanted:
                what = f"fails with {result}"
                if result > 0:
                    what = "writes other bytes than the numpy definition"
                self.failure = f"the emitted function to send {what}"
                return
