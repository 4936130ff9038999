"""intaglio: trained models into integer-only artifacts, with proof.

``convert`` turns a model into a :class:`Bundle`, ``verify`` compares its artifacts, ``load`` opens
an earlier one. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from intaglio.errors import (
    InputError,
    IntaglioError,
    InternalError,
    OutputError,
    RecipeError,
    Refusal,
    ToolError,
    UnsupportedError,
    VerificationError,
)

if TYPE_CHECKING:
    from intaglio.bundle import Bundle, BundleSession, load
    from intaglio.conversion import convert
    from intaglio.inspection import inspect_model
    from intaglio.recipe import Recipe, load_recipe
    from intaglio.split_session import SplitSession, open_split
    from intaglio.table_fitting import fit
    from intaglio.table_fitting_job import FitReport
    from intaglio.training import TrainingReport, replay, train
    from intaglio.verification.report import VerifyReport
    from intaglio.verification.verify import verify_bundle as verify

__version__ = "0.1.0"

_LAZY = {
    "Bundle": "intaglio.bundle:Bundle",
    "BundleSession": "intaglio.bundle:BundleSession",
    "FitReport": "intaglio.table_fitting_job:FitReport",
    "Recipe": "intaglio.recipe:Recipe",
    "SplitSession": "intaglio.split_session:SplitSession",
    "TrainingReport": "intaglio.training:TrainingReport",
    "VerifyReport": "intaglio.verification.report:VerifyReport",
    "convert": "intaglio.conversion:convert",
    "fit": "intaglio.table_fitting:fit",
    "inspect_model": "intaglio.inspection:inspect_model",
    "load": "intaglio.bundle:load",
    "load_recipe": "intaglio.recipe:load_recipe",
    "open_split": "intaglio.split_session:open_split",
    "replay": "intaglio.training:replay",
    "train": "intaglio.training:train",
    "verify": "intaglio.verification.verify:verify_bundle",
}

__all__ = [
    "Bundle",
    "BundleSession",
    "FitReport",
    "InputError",
    "IntaglioError",
    "InternalError",
    "OutputError",
    "Recipe",
    "RecipeError",
    "Refusal",
    "SplitSession",
    "ToolError",
    "TrainingReport",
    "UnsupportedError",
    "VerificationError",
    "VerifyReport",
    "__version__",
    "convert",
    "fit",
    "inspect_model",
    "load",
    "load_recipe",
    "open_split",
    "replay",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'intaglio' has no attribute '{name}'")
    module, _, attribute = _LAZY[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
