"""What a forward form says of training: which inputs are weights, and what only the loss reads."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.train.build_forward import is_forward, read_specification

#: Operators through which a bias that is trained reaches its layer.
_VIEWS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


class Variables:
    """The trained weights of a graph; nothing where it is no forward form.

    Args:
        model: An integer graph.

    Attributes:
        for_loss: ``step_logits``, and the int32 values in front of it.
    """

    def __init__(self, model: ir.Model) -> None:
        specification = read_specification(model) if is_forward(model) else None
        names = set() if specification is None else {p.name for p in specification.parameters}
        self._inputs = {value for value in model.graph.inputs if value.name in names}
        self.for_loss: set[ir.Value] = set()
        if specification is not None:
            self._follow(model.graph.outputs[-1])

    def _follow(self, value: ir.Value) -> None:
        """Collects the int32 values back to the rescale that makes them."""
        current: ir.Value | None = value
        while current is not None and current.dtype == ir.DataType.INT32:
            self.for_loss.add(current)
            node = current.producer()
            ends = node is None or node.op_type.startswith("Rescale")
            current = None if ends or node is None else node.inputs[0]

    def behind(self, value: ir.Value | None) -> ir.Value | None:
        """The trained weights that ``value`` is, perhaps in another shape or a wider type."""
        current = value
        while current is not None and current not in self._inputs:
            node = current.producer()
            views = node is not None and node.domain == "" and node.op_type in _VIEWS
            current = node.inputs[0] if node is not None and views else None
        return current
