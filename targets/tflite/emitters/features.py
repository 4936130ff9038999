"""Parts of the codec of features that TFLite has no operators for: each is refused by name."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.lower.builder import rounding_variant
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required


def _refuse(scope: Scope, node: ir.Node) -> None:
    raise RefusedError(
        "TFLite has no operators for features with dynamic ranges",
        "use static ranges, or --target onnx-integer",
    )


def refuse_means(scope: Scope, rescale: ir.Node, sums: ir.Node | None) -> None:
    """Refuses the means of integers that share a code: sums of groups, divided exactly.

    Args:
        scope: The file.
        rescale: The division.
        sums: The convolution in front of it.

    Raises:
        RefusedError: It is such a mean.
    """
    weights = None if sums is None else scope.array(required(sums.inputs[1]))
    if rescale.op_type != "RescaleSingle" or sums is None or weights is None:
        return
    alone = sums.attributes.get_int("group", 1) == len(weights)
    if (
        alone
        and (weights == 1).all()
        and rounding_variant("Rescale", scope.profile.rounding("depthwise_conv", "int8"))
        != rescale.op_type
    ):
        raise RefusedError(
            "TFLite has no operator for the mean of integers that share a code",
            "let none share one, or use --target c or onnx-integer",
        )


EMITTERS: dict[str, Emitter] = dict.fromkeys(
    ("FeatureDecode", "FeatureEncode", "FeatureRanges"), _refuse
)
