"""How a lowering says no."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.errors import Refusal
from intaglio.passes.provenance import source_name


class RefusedError(Exception):
    """Raised inside a lowering to refuse its node; collected into one UnsupportedError."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    def refusal(self, node: ir.Node) -> Refusal:
        """The refusal for ``node``."""
        return Refusal(source_name(node), node.op_type, self.reason, self.remedy)
