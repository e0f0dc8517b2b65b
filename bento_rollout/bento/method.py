"""The endpoints of a decorated service as BentoML sees them, and what is known of one before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from _bentoml_sdk.io_models import ARGS, KWARGS, IORootModel
from _bentoml_sdk.method import APIMethod

__all__ = [
    "RUNTIME",
    "Method",
    "RoutedMethod",
    "inputs_of",
    "is_async",
    "named",
    "parameters_of",
    "takes_any",
]

Method: TypeAlias = APIMethod[..., Any]

RUNTIME = "_bento_rollout_runtime"
"""The attribute by which a served instance is known; an instance made in a unit test does not have it."""


@attrs.define
class RoutedMethod(APIMethod[..., Any]):  # type: ignore[misc]  # BentoML's SDK carries no types
    """The champion's endpoint as BentoML sees it: schema as the user wrote it, calls routed when served.

    ``batchable`` is False, so that the server hands over each request by itself, in its own context; each
    variant has its own batcher behind the router. ``schema()`` still says what the user wrote.
    """

    declared: Any = attrs.field(default=None, kw_only=True)

    @classmethod
    def around(cls, method: Method) -> RoutedMethod:
        """Return the routed form of a method."""
        given = (field for field in attrs.fields(type(method)) if field.init and field.name != "batchable")
        routed = cls(**{field.name: getattr(method, field.name) for field in given}, declared=method)
        for field in attrs.fields(type(method)):
            if not field.init:
                setattr(routed, field.name, getattr(method, field.name))
        return routed

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        runtime = instance.__dict__.get(RUNTIME)
        if runtime is None:
            return self.declared.__get__(instance, owner)
        return runtime[self.name]

    def schema(self) -> dict[str, Any]:
        """Return the schema of the method as the user wrote it."""
        return self.declared.schema()  # type: ignore[no-any-return]  # `declared` is Any for attrs' sake


def parameters_of(method: Method) -> tuple[str, ...]:
    """Return the names of an endpoint's parameters, without ``self`` and the context."""
    names = list(inspect.signature(method.func).parameters)[1:]
    return tuple(name for name in names if name != method.ctx_param)


def takes_any(method: Method) -> bool:
    """Whether an endpoint takes arguments of any name (``**kwargs``)."""
    kinds = (parameter.kind for parameter in inspect.signature(method.func).parameters.values())
    return inspect.Parameter.VAR_KEYWORD in kinds


def is_async(method: Method) -> bool:
    """Whether an endpoint is a coroutine function or an async generator."""
    return inspect.iscoroutinefunction(method.func) or inspect.isasyncgenfunction(method.func)


def named(name: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return an argument by its name, however it was passed; None when there is none."""
    if name in kwargs:
        return kwargs[name]
    index = names.index(name) if name in names else len(args)
    return args[index] if index < len(args) else None


def inputs_of(
    method: Method, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call from Python as the server would hand them over: checked, with defaults.

    Raises:
        pydantic.ValidationError: for what the endpoint does not take, as BentoML's own client does.
        TypeError: for a wrong number of arguments.
    """
    model = method.input_spec.from_inputs(*args, **kwargs)
    if getattr(method.input_spec, "__root_input__", False):
        return [model.root if isinstance(model, IORootModel) else model], {}
    values = {name: getattr(model, name) for name in method.input_spec.model_fields}
    more = [values.pop(ARGS)] if ARGS in values else []
    values.update(values.pop(KWARGS, None) or {})
    return more, values
