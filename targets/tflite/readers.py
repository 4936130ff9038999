"""Every operator that is read: its builtin name, or ``custom:`` and its code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from intaglio.targets.tflite.operators import (
    blocks,
    convolutions,
    elementwise,
    fully_connected,
    matmul,
    moves,
    padding,
    pooling,
    quantization,
    reductions,
    resize,
    shapes,
)
from intaglio.targets.tflite.scope import Reader

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        **blocks.READERS,
        **convolutions.READERS,
        **elementwise.READERS,
        **fully_connected.READERS,
        **matmul.READERS,
        **moves.READERS,
        **padding.READERS,
        **pooling.READERS,
        **quantization.READERS,
        **reductions.READERS,
        **resize.READERS,
        **shapes.READERS,
    }
)
