"""Asks what numpy's objects are without importing numpy: where nobody has imported it, there are none.

The process that starts the workers has no use for numpy, and it is a good part of what a start would take.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import numpy as np

__all__ = ["is_array", "is_scalar"]


def is_array(value: Any) -> TypeGuard[np.ndarray[Any, Any]]:
    """Whether a value is a numpy array."""
    return isinstance(value, getattr(sys.modules.get("numpy"), "ndarray", ()))


def is_scalar(value: Any) -> TypeGuard[np.generic]:
    """Whether a value is one of numpy's own numbers or texts."""
    return isinstance(value, getattr(sys.modules.get("numpy"), "generic", ()))
