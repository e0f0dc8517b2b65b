"""Replace a model in production without fear: champion, candidates, and an instant way back, for BentoML.

Importing this package imports neither bentoml nor anything slow: each name is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Change",
    "Flip",
    "Hook",
    "Notice",
    "Rollout",
    "RolloutError",
    "RolloutSpec",
    "Variant",
    "Veto",
    "Webhook",
    "__version__",
    "is_shadow",
    "measure",
    "open_rollout",
    "rollout",
]

_HOMES = {
    "Change": "operations",
    "Flip": "records",
    "Hook": "hooks",
    "Notice": "notice",
    "Rollout": "operations",
    "RolloutError": "errors",
    "RolloutSpec": "spec",
    "Variant": "bento.variants",
    "Veto": "errors",
    "Webhook": "webhook",
    "is_shadow": "shadowing",
    "measure": "measuring",
    "open_rollout": "operations",
    "rollout": "bento.decorator",
}

if TYPE_CHECKING:
    from .bento.decorator import rollout
    from .bento.variants import Variant
    from .errors import RolloutError, Veto
    from .hooks import Hook
    from .measuring import measure
    from .notice import Notice
    from .operations import Change, Rollout, open_rollout
    from .records import Flip
    from .shadowing import is_shadow
    from .spec import RolloutSpec
    from .webhook import Webhook


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
