"""A table network of a bound size as a TOSA file.

The definition is :class:`intaglio.transforms.table_networks.centred.CentredNetwork`. Its shifts
with halves up are RESCALEs by ``2^30``, its tables one GATHER of rows and a REDUCE_SUM a layer.
Pixels are bytes in the file's int8; RESCALE reads them as unsigned.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.table_networks.facts import Network
from intaglio.targets.tflite.emitters.windows import Window
from intaglio.targets.tosa.emitters.arithmetic import multiply
from intaglio.targets.tosa.emitters.common import cut, sliding, widened
from intaglio.targets.tosa.emitters.lookups import looked_up, summed
from intaglio.targets.tosa.emitters.moves import gather, transpose
from intaglio.targets.tosa.scope import UNIT, Scope
from intaglio.transforms.table_networks import centred
from intaglio.transforms.table_networks.centred import LOWEST, MIDDLE, ROWS, CentredNetwork, Mixing


def emit_table_network(scope: Scope, network: Network, model: ir.Model) -> None:
    """Appends all of a table network; its border has the names and shapes of the model's.

    Args:
        scope: The file.
        network: What the model is.
        model: The model, its sizes bound: [1, 1, H, W].

    Raises:
        RefusedError: A size is open, the network has rotations, or it is too large.
    """
    [image], [result] = model.graph.inputs, model.graph.outputs
    if not isinstance(network, CentredNetwork):
        raise RefusedError(
            "this table network turns its windows, and is emitted for any size only",
            "use --target onnx-integer or --target c",
        )
    size = _bound(image)
    _Planes(scope, network, size).emit(str(image.name), str(result.name))


def _bound(image: ir.Value) -> tuple[int, int]:
    sizes = [dim for dim in image.shape or () if isinstance(dim, int)]
    if len(sizes) != 4 or sizes[:2] != [1, 1] or 0 in sizes:
        raise RefusedError(
            "the size of its image is open, and TOSA files state every size",
            f"bind it: --shape {image.name}=1,1,HEIGHT,WIDTH",
        )
    return sizes[2], sizes[3]


class _Planes:
    """The network on one plane, channels last: tensors are [1, cell rows, cell columns, C]."""

    def __init__(self, scope: Scope, network: CentredNetwork, size: tuple[int, int]) -> None:
        self._scope = scope
        self._network = network
        self._size = size
        stride, scale = network.stride, network.upscale
        self._cells = (-(-size[0] // stride), -(-size[1] // stride))
        self._result = (size[0] * scale // stride, size[1] * scale // stride)

    def emit(self, image: str, result: str) -> None:
        """Appends it from the image's bytes to the result's."""
        network, scope = self._network, self._scope
        scope.file.tensor(image, (1, 1, *self._size), "int8")
        scope.file.tensor(result, (1, 1, *self._result), "int8")
        pixels = self._pixels(image)
        window, view = self._continued(pixels)
        own = network.channels
        sums = self._stem(view, window, slice(0, own), "features")
        features = self._shifted(sums, own, network.stem_shift, "int8")
        for mixing in network.mixings:
            features = self._mixed(features, mixing)
        change = self._looked_up(features, network.head_window, network.head_tables)
        skip = self._stem(view, window, slice(own, None), "skip")
        self._head(pixels, change, skip, result)
        scope.file.inputs, scope.file.outputs = [image], [result]

    def _pixels(self, image: str) -> str:
        """The bytes less 128, [1, H, W, 1]."""
        scope, shape = self._scope, (1, *self._size, 1)
        flat = scope.reshape(image, shape, scope.intermediate("bytes", shape, "int8"))
        target = scope.intermediate("pixels", shape, "int8")
        return scope.rescale(
            flat, target, dtypes=("int8", "int8"), zero_points=(MIDDLE - 256, 0),
            unsigned=(True, False),
        )  # fmt: skip

    def _continued(self, pixels: str) -> tuple[Window, str]:
        """The window of the stem, and the image with its edge pixels around it."""
        network, scope = self._network, self._scope
        kernel, stride = network.kernel, network.stride
        before = (kernel - stride) // 2
        shape, data = [1, *self._size, 1], pixels
        for axis, (size, cells) in enumerate(zip(self._size, self._cells, strict=True), 1):
            extent = stride * (cells - 1) + kernel
            places = np.clip(np.arange(extent) - before, 0, size - 1)
            grown = [*shape[:axis], extent, *shape[axis + 1 :]]
            target = scope.intermediate("continued", grown, "int8")
            data, shape = gather(scope, data, shape, places, axis, target), grown
        window = Window(
            (shape[1], shape[2]), self._cells, (kernel, kernel), (stride, stride), (1, 1), (0, 0)
        )
        return window, data

    def _stem(self, data: str, window: Window, rows: slice, name: str) -> str:
        """Some of the stem's sums."""
        network, scope = self._network, self._scope
        weights = network.stem_weights[rows, :, :, None]
        inputs = [
            data,
            scope.constant(f"{name}_weights", weights),
            scope.constant(f"{name}_bias", network.stem_bias[rows]),
            *self._no_zero_points(),
        ]
        target = self._fresh(f"{name}_sums", len(weights), "int32")
        return scope.operator("CONV2D", inputs, target, sliding(window))

    def _mixed(self, features: str, mixing: Mixing) -> str:
        """``clamp(f + half_up(U))``."""
        scope, channels = self._scope, self._network.channels
        change = self._looked_up(features, mixing.window, mixing.tables)
        change = self._shifted(change, channels, mixing.shift, "int32")
        before = widened(scope, features, (1, *self._cells, channels), 0)
        after = scope.operator("ADD", [before, change], self._fresh("after", channels, "int32"))
        return self._shifted(after, channels, 0, "int8")

    def _looked_up(self, features: str, taps: centred.Window, tables: NDArray[np.int8]) -> str:
        """Sums of the rows of tables that a window of each channel says."""
        scope, (channels, _, outputs) = self._scope, tables.shape
        cells = self._cells
        window = Window(cells, cells, (3, 3), (1, 1), (1, 1), (1, 1))
        inputs = [
            features,
            scope.constant("taps", np.ascontiguousarray(taps.taps.transpose(1, 2, 0)[..., None])),
            scope.constant("no_bias", np.zeros(channels, np.int32)),
            *self._no_zero_points(),
        ]
        sums = self._fresh("window_sums", channels, "int32")
        scope.operator("DEPTHWISE_CONV2D", inputs, sums, sliding(window))
        rounded = self._shifted(sums, channels, taps.shift, "int8")
        rows = self._fresh("rows", channels, "int8")
        scope.clamp(rounded, rows, "int8", LOWEST, LOWEST + ROWS - 1)
        area = math.prod(cells)
        found = looked_up(scope, rows, LOWEST, area, tables, "tables")
        total = summed(scope, found, (area, channels, outputs), 1)
        shape = (1, *cells, outputs)
        return scope.reshape(total, shape, self._fresh("table_sums", outputs, "int32"))

    def _head(self, pixels: str, change: str, skip: str, result: str) -> None:
        """``clamp(x + half_up((U << head_shift) + skip))`` under each sub-pixel, as bytes."""
        network, scope = self._network, self._scope
        scale = network.upscale
        factor = scope.constant("factor", np.full((1, 1, 1, 1), 1 << network.head_shift), "int32")
        raised = multiply(scope, change, factor, self._fresh("raised", scale**2, "int32"))
        both = scope.operator("ADD", [raised, skip], self._fresh("both", scale**2, "int32"))
        rounded = self._shifted(both, scale**2, network.out_shift, "int32")
        apart = (*self._cells, scale, scale)
        data = scope.reshape(rounded, apart, scope.intermediate("sub_pixels", apart, "int32"))
        moved = (self._cells[0], scale, self._cells[1], scale)
        data = transpose(scope, data, (0, 2, 1, 3), scope.intermediate("moved", moved, "int32"))
        full = (1, self._cells[0] * scale, self._cells[1] * scale, 1)
        data = scope.reshape(data, full, scope.intermediate("plane", full, "int32"))
        shape = (1, *self._result, 1)
        if full != shape:
            target = scope.intermediate("cropped", shape, "int32")
            data = cut(scope, data, (0, 0, 0, 0), shape, target)
        under = self._under(pixels)
        total = scope.operator("ADD", [under, data], scope.intermediate("total", shape, "int32"))
        # No RESCALE makes unsigned bytes of int32.
        signed = scope.intermediate("signed", shape, "int8")
        scope.rescale(total, signed, dtypes=("int32", "int8"))
        target = scope.intermediate("result_bytes", shape, "int8")
        scope.rescale(
            signed, target, dtypes=("int8", "int8"), zero_points=(0, MIDDLE - 256),
            unsigned=(False, True),
        )  # fmt: skip
        scope.reshape(target, (1, 1, *self._result), result)

    def _under(self, pixels: str) -> str:
        """The pixels under the sub-pixels, in int32."""
        network, scope, (rows, columns) = self._network, self._scope, self._size
        scale, stride = network.upscale, network.stride
        shape = (1, *self._result, 1)
        if stride == 1:
            apart, whole = (rows, 1, columns, 1), (rows, scale, columns, scale)
            data = scope.reshape(pixels, apart, scope.intermediate("apart", apart, "int8"))
            times = scope.sizes("multiples", (1, scale, 1, scale))
            repeated = scope.intermediate("repeated", whole, "int8")
            data = scope.operator("TILE", [data, times], repeated)
            data = scope.reshape(data, shape, scope.intermediate("under", shape, "int8"))
            return widened(scope, data, shape, 0)
        size, data = [1, rows, columns, 1], pixels
        for axis in (2, 1):
            places = np.arange(shape[axis]) * stride // scale
            grown = [*size[:axis], len(places), *size[axis + 1 :]]
            target = scope.intermediate("under", grown, "int8")
            data, size = gather(scope, data, size, places, axis, target), grown
        return widened(scope, data, shape, 0)

    def _shifted(self, data: str, channels: int, shift: int, dtype: str) -> str:
        """``half_up(data, shift)``; saturated where int8 is asked for."""
        scope = self._scope
        target = self._fresh("shifted", channels, dtype)
        return scope.rescale(
            data, target, dtypes=("int32", dtype), multiplier=UNIT[0], shift=UNIT[1] + shift
        )

    def _fresh(self, name: str, channels: int, dtype: str) -> str:
        return self._scope.intermediate(name, (1, *self._cells, channels), dtype)

    def _no_zero_points(self) -> list[str]:
        none = self._scope.constant("no_zero_point", [0], "int8")
        return [none, none]
