"""Knows an endpoint's media type beforehand: BentoML makes the output's whole JSON schema for each answer."""

from __future__ import annotations

import types
from typing import Any

from _bentoml_sdk.io_models import IORootModel

__all__ = ["preset"]


def preset(spec: Any) -> Any:
    """Return an output spec that answers as the given one does, and whose ``mime_type()`` costs nothing.

    It is a class of its own: one spec serves every service that inherits the endpoint, and one whose
    ``media_type`` were set would say so in ``/schema.json``. Specs of models know theirs without a schema.
    """
    if not _is_bentomls_own(spec) or spec.media_type is not None:
        return spec
    try:
        known = spec.mime_type()
        body = {name: getattr(spec, name) for name in ("__module__", "__qualname__", "__doc__")}
        body["mime_type"] = classmethod(lambda _: known)
        return types.new_class(spec.__name__, (spec,), exec_body=lambda namespace: namespace.update(body))
    except Exception:  # noqa: BLE001 - what has no schema is BentoML's to complain of, answer by answer
        return spec


def _is_bentomls_own(spec: Any) -> bool:
    """Whether BentoML made a spec for a return type; one that a user wrote may be anything, and stays."""
    return issubclass(spec, IORootModel) and spec.__module__ == IORootModel.__module__
