"""Random layers with corners: odd shapes, zero points at the rails, ties, saturation, any shift."""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.targets.c.network import (
    AdditiveTables,
    Block,
    Border,
    Convolution,
    IndexedTables,
    Move,
    Pool,
    Product,
    Reduction,
    Rescale,
    Take,
    Tensor,
    TransposedConvolution,
    Window,
)
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.harness import network_of, run
from tests.targets.c.reference import accumulators, reference

INT32_LIMIT = 1 << 31


class Maker:
    """Makes layers, each with an input of its own, and what they are fed.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.layers = []
        self.arrays = {}

    def integer(self, low, high):
        """Any of ``low .. high``."""
        return int(self.random.integers(low, high, endpoint=True))

    def pick(self, *choices):
        """Any of these."""
        return choices[self.integer(0, len(choices) - 1)]

    def values(self, dtype, shape):
        """Integers: all over, on the rails only, or small."""
        limits = np.iinfo(dtype)
        kind = self.pick("all", "all", "rails", "small")
        if kind == "rails":
            return self.random.choice(np.array([limits.min, limits.max], dtype), shape)
        low, high = (-2, 2) if kind == "small" else (limits.min, limits.max)
        return self.random.integers(low, high, shape, endpoint=True).astype(dtype)

    def zero_point(self, dtype):
        """Any for int8, with its rails; 0 for int16."""
        some = self.integer(-128, 127)
        return 0 if dtype == "int16" else self.pick(-128, 0, 127, some, some, some)

    def tensor(self, dtype, shape, array=None, zero_point=None, constant=False):
        """An input of the network, or a constant."""
        name = f"t{len(self.arrays)}"
        array = self.values(dtype, shape) if array is None else np.asarray(array, dtype)
        if zero_point is None:
            zero_point = self.zero_point(dtype)
        self.arrays[name] = array
        data = array if constant else None
        return Tensor(name, tuple(shape), dtype, 1.0, zero_point, data=data)

    def output(self, shape, dtype, zero_point=0):
        """What the next layer makes."""
        return Tensor(f"y{len(self.layers)}", tuple(shape), dtype, 1.0, zero_point)

    def rescale(self, acc, channels, dtype, rounding=None, wide=False):
        """A rescale of these sums to most of ``dtype``; at times to little of it, or any at all."""
        if rounding is None:
            rounding = self.pick("wide", "real") if wide else self.pick("double", "single")
        rounding = Rounding(rounding)
        size = self.pick(1, channels)
        lowest, highest = {Rounding.WIDE: (24, 62), Rounding.REAL: (46, 97)}.get(rounding, (2, 62))
        bits = 53 if rounding is Rounding.REAL else 31
        some = self.random.integers(1 << (bits - 1), 1 << bits, size)
        # Powers of two make ties.
        corners = np.array([1 << (bits - 1), 1 << (bits - 1), 3 << (bits - 2), (1 << bits) - 1, 0])
        corner = self.random.choice(corners, size)
        multiplier = np.where(self.random.random(size) < 0.6, some, corner)
        span = np.ptp(acc) / float(np.iinfo(dtype).max) if np.size(acc) else 1.0
        fitting = np.log2(max(span, 1e-6)) + bits + self.random.integers(-2, 2, size)
        anywhere = self.random.integers(lowest, highest, size, endpoint=True)
        shift = np.where(self.random.random(size) < 0.9, np.floor(fitting), anywhere)
        shift = np.clip(shift, lowest, highest).astype(np.int64)
        limits = np.iinfo(dtype)
        zero_point = self.zero_point(dtype)
        whole = (int(limits.min), int(limits.max))
        relu = (zero_point, whole[1]) if zero_point < 100 else whole
        low, high = self.pick(whole, whole, whole, relu, (-100, max(zero_point, 90)))
        return Rescale(rounding, multiplier, shift, zero_point, low, high)

    def scaled(self, layer, dtype, rounding=None):
        """The layer with a rescale that suits its sums, put into the network."""
        acc = accumulators(layer, [self.arrays[tensor.name] for tensor in layer.inputs])
        wide = getattr(layer, "wide", False)
        channels = layer.output.shape[-1] if hasattr(layer, "window") else 1
        rescale = self.rescale(acc, channels, dtype, rounding, wide)
        output = self.output(layer.output.shape, dtype, rescale.zero_point)
        return self.add(dataclasses.replace(layer, output=output, rescale=rescale))

    def window(self, channels, filters, small=False):
        """Geometry with any padding, stride and dilation."""
        sizes = [], [], [], [], [], []
        for _ in range(2):
            kernel = self.integer(1, 3 if small else self.pick(1, 3, 3, 6))
            dilation = self.pick(1, 1, 1, self.integer(1, 3))
            stride = self.pick(1, 1, 2, self.integer(1, 6))
            reach = (kernel - 1) * dilation + 1
            image = self.integer(1, 9)
            begin = self.pick(0, 0, self.integer(0, reach - 1), self.integer(0, reach))
            end = self.pick(0, self.integer(0, reach - 1))
            end += max(0, reach - image - begin - end)
            result = (image + begin + end - reach) // stride + 1
            for values, value in zip(
                sizes, (image, result, kernel, stride, dilation, begin), strict=True
            ):
                values.append(value)
        image, result, kernel, stride, dilation, begin = map(tuple, sizes)
        return Window((*image, channels), (*result, filters), kernel, stride, dilation, begin)

    def convolution(self, kind=None, dtype="int8", **given):
        """A convolution of a kind: ``dense``, ``groups``, ``depthwise``, ``multiplied``,
        ``connected`` (rows of a matrix)."""
        kind = kind or self.pick("dense", "groups", "depthwise", "multiplied", "connected")
        groups = {"dense": 1, "connected": 1, "depthwise": self.pick(2, 3, 8, 33, 70)}.get(
            kind, self.integer(2, 5)
        )
        depth = 1 if kind in ("depthwise", "multiplied") else self.pick(1, 2, 3, 4, 7, 16, 21)
        filters = groups * (1 if kind == "depthwise" else self.integer(1, 9))
        window = given.pop("window", None) or self.window(groups * depth, filters)
        if kind == "connected":
            size, rows = self.integer(1, 300), self.integer(1, 3)
            window = Window((1, rows, size), (1, rows, filters), (1, 1))
            depth = size
        weights = self.values("int8", (filters, *window.kernel, depth))
        return self.convolved(window, weights, groups, dtype, **given)

    def convolved(
        self, window, weights, groups=1, dtype="int8", output=None, rounding=None,
        weight_zero_point=None, wide=False, x=None,
    ):  # fmt: skip
        """A convolution with these weights and a bias that leaves the sums where they fit."""
        if weight_zero_point is None:
            weight_zero_point = self.pick(0, 0, 0, 0, 0, self.integer(-128, 127))
        x = x or self.tensor(dtype, (1, *window.image))
        bias, wide = self.bias(x, weights.astype(np.int64) - weight_zero_point, wide)
        layer = Convolution(
            f"convolution {len(self.layers)}", (x,), self.output((1, *window.result), dtype), (),
            window, weights, bias, None, groups, weight_zero_point, wide,
        )  # fmt: skip
        return self.scaled(layer, output or dtype, rounding)

    def additive_tables(self, kind=None, entries="int16", output="int8", window=None):
        """Added tables of a kind, as :meth:`convolution` has them: split, short, constant."""
        kind = kind or self.pick("dense", "groups", "depthwise", "multiplied", "connected")
        groups = {"dense": 1, "connected": 1, "depthwise": self.pick(2, 3, 17)}.get(
            kind, self.integer(2, 4)
        )
        depth = 1 if kind in ("depthwise", "multiplied") else self.pick(1, 2, 3)
        each = self.pick(1, 2) if kind == "depthwise" else self.pick(1, 3, 8, 16, 17)
        filters = groups * each
        if kind == "connected":
            size, rows = self.integer(1, 30), self.integer(1, 3)
            window, depth = Window((1, rows, size), (1, rows, filters), (1, 1)), size
        elif window is not None:
            depth, filters = window.image[2] // groups, window.result[2]
        window = window or self.window(groups * depth, filters, small=True)
        x = self.tensor("int8", (1, *window.image))
        taps = window.kernel[0] * window.kernel[1] * depth
        splits = (((0, -1, -128, 256),), ((2, -1, -32, 64), (0, 3, 0, 4)))
        splits += (((4, -1, -8, 16), (0, 15, 0, 16)), ((0, -1, -40, 70),), ((1, 31, 3, 9),))
        branches = []
        for shift, mask, low, rows in self.pick(*splits):
            tables = self.values(entries, (taps, rows, filters))
            tables[self.random.random(taps) < 0.2] = 0
            if rows > 8 and self.pick(0, 1):
                tables[:, : rows // 3] = tables[:, rows // 3 : rows // 3 + 1]
                tables[:, -3:] = tables[:, -3:-2]
            branches.append(IndexedTables(tables, shift, mask, low))
        layer = AdditiveTables(
            f"tables {len(self.layers)}", (x,), self.output((1, *window.result), output), (),
            window, tuple(branches), self.random.integers(-9999, 9999, filters), None, groups,
            self.zero_point("int8"),
        )  # fmt: skip
        return self.scaled(layer, output)

    def bias(self, x, weights, wide=False):
        """A bias, and whether sums need 64 bits; else they fit 32 with room for the bias."""
        largest = 255 if x.dtype == "int8" else 32768
        sums = np.abs(weights).reshape(weights.shape[0], -1).sum(1) * largest
        bound = int(sums.max())
        wide = wide or bound >= INT32_LIMIT
        room = (1 << 40) if wide else INT32_LIMIT - 1 - bound
        reach = self.pick(0, min(room, bound // 4), min(room, bound // 20), min(room, bound // 20))
        bias = self.random.integers(-reach, reach, weights.shape[0], endpoint=True)
        if self.pick(*[0] * 9, 1):
            bias[0] = self.pick(-room, room)
        if wide and bound < INT32_LIMIT:
            # Only the bias can make these sums need 64 bits.
            bias[:] = self.random.integers(-INT32_LIMIT, INT32_LIMIT, len(bias), endpoint=True)
            bias[-1] = self.pick(-1, 1) * (INT32_LIMIT + self.integer(0, INT32_LIMIT))
        return bias, wide

    def transposed(self, dtype="int8", wide=False, rounding=None):
        """A transposed convolution."""
        groups, depth = self.pick(1, 1, 2, 3), self.pick(1, 2, 5, 8)
        filters = groups * self.integer(1, 6)
        image, result, kernel, stride, dilation, begin = (
            tuple(values) for values in zip(*(self._spread() for _ in range(2)), strict=True)
        )
        window = Window(
            (*image, groups * depth), (*result, filters), kernel, stride, dilation, begin
        )
        weights = self.values("int8", (filters, *kernel, depth))
        x = self.tensor(dtype, (1, *window.image))
        bias, wide = self.bias(x, weights.astype(np.int64), wide)
        layer = TransposedConvolution(
            f"transposed {len(self.layers)}", (x,), self.output((1, *window.result), dtype), (),
            window, weights, bias, None, groups, wide,
        )  # fmt: skip
        return self.scaled(layer, dtype, rounding)

    def _spread(self):
        image, kernel = self.integer(1, 5), self.integer(1, 4)
        stride, dilation = self.pick(1, 2, 2, 3, 5), self.pick(1, 1, 2, 3)
        full = (image - 1) * stride + (kernel - 1) * dilation + 1
        begin = self.integer(0, min(full - 1, kernel))
        result = max(1, full - begin - self.integer(0, kernel) + self.pick(0, 0, 1))
        return image, result, kernel, stride, dilation, begin

    def product(self, first="int8", second="int8", rounding=None, sizes=None):
        """A product of matrices with any batches."""
        m, k, n = sizes or (self.integer(1, 5), self.integer(1, 40), self.pick(1, 7, 32, 45))
        count = self.pick(1, 1, 3, 4)
        batches = self.pick(
            tuple((i, i) for i in range(count)),
            tuple((i, 0) for i in range(count)),
            tuple((i // 2, i % 2) for i in range(count)),
        )
        a = self.tensor(first, (max(i for i, _ in batches) + 1, m, k))
        b = self.tensor(second, (max(j for _, j in batches) + 1, k, n))
        bound = k * (255 if first == "int8" else 32768) * (255 if second == "int8" else 32768)
        output = first if first == second else "int16"
        layer = Product(
            f"product {len(self.layers)}", (a, b), self.output((count, m, n), output), (),
            batches, (m, k, n), None, bound >= INT32_LIMIT,
        )  # fmt: skip
        return self.scaled(layer, output, rounding)

    def pool(self, average, dtype="int8"):
        """A pooling layer, of whose windows each sees an element of the image."""
        channels = self.pick(1, 3, 31, 33, 70)
        window = self.window(channels, channels)
        while not _all_windows_see(window) or (average and window.dilations != (1, 1)):
            window = self.window(channels, channels)
        x = self.tensor(dtype, (1, *window.image))
        output = self.output((1, *window.result), dtype, x.zero_point)
        return self.add(Pool(f"pool {len(self.layers)}", (x,), output, (), window, average))

    def reduction(self, shape, axes, kind="sum", dtype="int8", rounding=None, output=None):
        """A reduction over these axes."""
        x = self.tensor(dtype, shape)
        count = int(np.prod([shape[axis] for axis in axes]))
        left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        layer = Reduction(
            f"reduction {len(self.layers)}", (x,), self.output(left, dtype, x.zero_point), (),
            tuple(axes), kind, -count * x.zero_point if kind == "sum" else 0, None,
        )  # fmt: skip
        return self.scaled(layer, output or dtype, rounding) if kind == "sum" else self.add(layer)

    def move(self, arrays, shape, blocks, fill=None, dtype="int8", constant=()):
        """Copies of arrays' parts; ``arrays`` are shapes."""
        inputs = tuple(
            self.tensor(dtype, size, constant=place in constant)
            for place, size in enumerate(arrays)
        )
        output = self.output(shape, dtype)
        return self.add(Move(f"move {len(self.layers)}", inputs, output, (), tuple(blocks), fill))

    def transpose(self, shape, order, dtype="int8"):
        """A Move that transposes."""
        strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
        made = [shape[axis] for axis in order]
        to = [int(np.prod(made[axis + 1 :])) for axis in range(len(shape))]
        block = Block(0, tuple(made), tuple(strides[axis] for axis in order), 0, tuple(to), 0)
        return self.move([shape], made, [block], dtype=dtype)

    def take(self, outer, length, inner, count, dtype="int8"):
        """Slices by random indices."""
        x = self.tensor(dtype, (outer, length, inner))
        indices = self.random.integers(0, length, count).astype(np.int32)
        output = self.output((outer, count, inner), dtype)
        return self.add(
            Take(f"take {len(self.layers)}", (x,), output, (), outer, length, inner, indices)
        )

    def border(self, dtype, scale, array=None):
        """A quantization of ``array``, or a dequantization where there is none."""
        zero_point = self.zero_point("int8") * (1 if dtype == "int8" else 200)
        name = f"border {len(self.layers)}"
        if array is None:
            x = self.tensor(dtype, (3, 50), zero_point=zero_point)
            x = Tensor(x.name, x.shape, x.dtype, scale, zero_point)
            output = Tensor(f"y{len(self.layers)}", x.shape, "float32")
        else:
            x = self.tensor("float32", array.shape, array, 0)
            output = Tensor(f"y{len(self.layers)}", x.shape, dtype, scale, zero_point)
        return self.add(Border(name, (x,), output, ()))

    def add(self, layer):
        """Puts a layer into the network."""
        self.layers.append(layer)
        return layer

    def check(self, capfd, variant="portable", builds=None, memory=0):
        """Compiles and runs all layers for each set of flags.

        Args:
            capfd: Of pytest; tells of undefined behaviour.
            variant: Whose kernels to take.
            builds: Sets of flags.
            memory: Bytes of scratch memory that layers may have for nothing, or somewhat more.

        Returns:
            The expected results, one for each layer.
        """
        layers = [*self.layers, *(self._large(memory) if memory else ())]
        network = network_of(*layers)
        given = {tensor.name: self.arrays[tensor.name] for tensor in network.inputs}
        expected = dict(self.arrays)
        for layer in self.layers:
            arrays = [expected[tensor.name] for tensor in layer.inputs]
            expected[layer.output.name] = reference(layer, arrays)
        for flags in builds or BUILDS:
            results = run(network, given, variant, flags=flags)
            for layer in self.layers:
                name = layer.output.name
                np.testing.assert_array_equal(
                    results[name], expected[name], err_msg=f"{flags} {layer}"
                )
            assert "runtime error" not in capfd.readouterr().err
        return [expected[layer.output.name] for layer in self.layers]

    def _large(self, memory):
        """Two layers with a tensor between them that makes the arena large."""
        x = self.tensor("int8", (1,))
        large = Tensor("large", (memory + 64,), "int8")
        made = Tensor("made", (1,), "int8")
        one = Block(0, (), (), 0, (), 0)
        return Move("fill", (x,), large, (), (one,), 0), Move("read", (large,), made, (), (one,))


#: The second says so where C leaves something undefined.
BUILDS = (("-O3",), ("-O0", "-fsanitize=undefined"))


def _all_windows_see(window):
    for axis in range(2):
        start = np.arange(window.result[axis]) * window.strides[axis] - window.pads[axis]
        taps = start[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        if not ((taps >= 0) & (taps < window.image[axis])).any(1).all():
            return False
    return True
