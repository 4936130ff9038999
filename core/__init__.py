"""intaglio: trained models into integer-only artifacts, with proof."""

from __future__ import annotations

__version__ = "0.1.0"
