"""How a gradient rule says that it cannot differentiate a node."""

from __future__ import annotations


class Undifferentiable(Exception):  # noqa: N818 - not an error of the user until it is listed
    """A node has no gradient here; the sweep collects these and refuses all at once.

    Args:
        reason: Why.
        remedy: What the user can do about it.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
