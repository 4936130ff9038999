"""Options of the differentiation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from intaglio.passes.base import PassConfig

#: A factor by which an average forgets.
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainingOptions(PassConfig):
    """What to train, for which loss, by which rule.

    Attributes:
        loss: ``cross-entropy``: natural logarithm, int64 class numbers ``[N]``, mean over the
            batch. ``mean-squared-error``: float target shaped as the output, mean over all
            elements.
        optimizer: ``none`` (outputs are the gradients), ``sgd`` (with momentum) or ``adam``
            (with bias correction).
        trained: Shell patterns on the names of float initializers. Empty for every weight, bias
            and slope that stands in the model itself at Conv, ConvTranspose, Gemm, MatMul and
            PRelu.
        output: Name of the model output that the loss is taken on; empty for the only one.
        momentum: Of ``sgd``; at 0 there is no velocity among inputs and outputs.
        betas: Of ``adam``: decay of the mean and of the mean square of the gradients.
        epsilon: Of ``adam``: what is added to the root of the mean square.
    """

    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    optimizer: Literal["none", "sgd", "adam"] = "sgd"
    trained: tuple[str, ...] = ()
    output: str = ""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0.0)
