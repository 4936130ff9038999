"""The window of a convolution or pooling, with every number explicit.

One output element at ``o`` reads the input at ``s * o + d * i - p`` for ``i = 0 .. k - 1``, along
each spatial axis (kernel k, stride s, dilation d, padding p before the begin).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import integer, ints, text
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.refusing import Undifferentiable

_REMEDY = "run the canonicalize passes before, or give the model a fixed input shape"


@dataclasses.dataclass(frozen=True)
class Window:
    """A window, one number for each spatial axis.

    Attributes:
        kernel: Its sizes.
        strides: Steps from output to output.
        dilations: Steps within the window.
        begins: Padding before the first element.
        ends: Padding behind the last.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """Paddings as ONNX lists them."""
        return [*self.begins, *self.ends]

    @property
    def extents(self) -> list[int]:
        """How many elements the window spans, gaps included."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def leftover(self, axis: int, size: int) -> int:
        """Elements of a padded input of ``size`` that no window reaches."""
        padded = size + self.begins[axis] + self.ends[axis]
        return (padded - self.extents[axis]) % self.strides[axis]


def read_window(node: ir.Node) -> Window:
    """The window of a Conv, AveragePool or ConvTranspose.

    Raises:
        Undifferentiable: Its padding depends on a size that is known only at run time.
    """
    kernel = _kernel(node)
    axes = len(kernel)
    strides = tuple(ints(node, "strides", [1] * axes) or ())
    dilations = tuple(ints(node, "dilations", [1] * axes) or ())
    pads = ints(node, "pads", [0] * (2 * axes)) or []
    window = Window(kernel, strides, dilations, tuple(pads[:axes]), tuple(pads[axes:]))
    automatic = text(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return window
    none = (0,) * axes
    if automatic == "VALID":
        return dataclasses.replace(window, begins=none, ends=none)
    if node.op_type == "ConvTranspose":
        raise Undifferentiable(f"its padding is '{automatic}'", _REMEDY)
    return _same(node, window, automatic == "SAME_LOWER")


def _kernel(node: ir.Node) -> tuple[int, ...]:
    kernel = ints(node, "kernel_shape")
    if kernel is None:
        weight = node.inputs[1]
        assert weight is not None  # ONNX asks for it
        found = [dim for dim in dimensions(weight)[2:] if isinstance(dim, int)]
        if len(found) != len(dimensions(weight)) - 2:
            raise Undifferentiable("its kernel size is not known", _REMEDY)
        kernel = found
    return tuple(kernel)


def _same(node: ir.Node, window: Window, lower: bool) -> Window:
    """SAME padding: ``ceil(size / stride)`` outputs, the odd element at the end (or begin)."""
    begins: list[int] = []
    ends: list[int] = []
    for axis, size in enumerate(spatial(node.inputs[0])):
        stride = window.strides[axis]
        if isinstance(size, int):
            total = max(0, (-(-size // stride) - 1) * stride + window.extents[axis] - size)
        elif stride == 1:
            total = window.extents[axis] - 1
        else:
            raise Undifferentiable("its SAME padding depends on the size at run time", _REMEDY)
        first = (total + 1) // 2 if lower else total // 2
        begins.append(first)
        ends.append(total - first)
    return dataclasses.replace(window, begins=tuple(begins), ends=tuple(ends))


def spatial(value: ir.Value | None) -> Sequence[int | str | None]:
    """Dimensions behind batch and channels."""
    assert value is not None  # ONNX asks for it
    return dimensions(value)[2:]


def group_of(node: ir.Node) -> int:
    """Number of groups."""
    return integer(node, "group", 1)
