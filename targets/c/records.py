"""What the report tells of an emitted model: layers, and the arena over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.network import Convolution, Network, TrainedConvolution


def record(
    network: Network, layouts: Mapping[str, Layout], constant_bytes: Mapping[str, int]
) -> dict[str, Any]:
    """JSON-friendly data: the layers, and the memory plan of every variant.

    Args:
        network: The model.
        layouts: Code and memory by variant.
        constant_bytes: Bytes of constants by variant.
    """
    return {
        "name": network.name,
        "live_peak_bytes": next(iter(layouts.values())).live_peak,
        "layers": [
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "output": layer.output.name,
                "source": layer.output.source,
                "shape": list(layer.output.shape),
                "dtype": layer.output.dtype,
                "sources": list(layer.sources),
                "macs": layer.macs if isinstance(layer, (Convolution, TrainedConvolution)) else 0,
            }
            for layer in network.layers
        ],
        "variants": {
            name: {
                "arena_bytes": layout.plan.bytes,
                "bound_bytes": layout.plan.bound,
                "constant_bytes": constant_bytes[name],
                "buffers": [
                    {
                        "name": buffer.name,
                        "bytes": buffer.bytes,
                        "first": buffer.first,
                        "last": buffer.last,
                        "offset": offset,
                    }
                    for buffer, offset in zip(layout.plan.buffers, layout.plan.offsets, strict=True)
                ],
            }
            for name, layout in layouts.items()
        },
    }
