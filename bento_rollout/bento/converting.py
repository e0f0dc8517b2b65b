"""Makes a candidate's own input classes of the champion's: same schema, other models, enums, dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any

from _bentoml_sdk.io_models import IOMixin, IORootModel
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from .method import Method, parameters_of

__all__ = ["Converter", "converter_between"]

Converter = Callable[[Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], dict[str, Any]]]

ROOT = ""
"""Stands for the one argument of an endpoint with a root input, which has no name on the wire."""


def converter_between(ours: Method, theirs: Method) -> Converter | None:
    """Return what turns the champion's inputs into the candidate's own; None: their classes are the same."""
    mine, other = _kinds(ours), _kinds(theirs)
    wanted = {name: TypeAdapter(kind) for name, kind in other.items() if kind != mine.get(name)}
    if not wanted:
        return None
    names = (ROOT,) if ROOT in other else parameters_of(ours)

    def convert(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        new = [_as(wanted.get(name), value) for name, value in zip(names, args, strict=False)]
        changed = {name: _as(wanted.get(name), value) for name, value in kwargs.items()}
        return [*new, *args[len(new) :]], changed

    return convert


def _kinds(method: Method) -> dict[str, Any]:
    """Return what each argument is validated as, by name."""
    spec = method.input_spec
    if getattr(spec, "__root_input__", False):
        return {ROOT: _kind(spec.model_fields["root"]) if issubclass(spec, IORootModel) else _declared(spec)}
    return {name: _kind(info) for name, info in spec.model_fields.items()}


def _kind(info: FieldInfo) -> Any:
    if not info.metadata:
        return info.annotation
    annotated: Any = Annotated
    parts = (info.annotation, *info.metadata)
    return annotated[parts]


def _declared(spec: type[Any]) -> type[Any]:
    """Return the user's own class below the one that BentoML makes of it."""
    return spec.__bases__[-1] if spec.__bases__[0] is IOMixin else spec


def _as(adapter: TypeAdapter[Any] | None, value: Any) -> Any:
    return value if adapter is None else adapter.validate_python(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value without the classes of the one who declared it."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
