"""Whether people can decide what a spec entrusts to them: the service's endpoints, outputs and functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from _bentoml_sdk.io_models import IORootModel

from ..automating import Automation
from ..choosing import outputs_in
from ..errors import InvalidSpec
from ..explaining import Problem
from ..spec import RolloutSpec
from .functions import imported
from .method import Method, parameters_of, takes_any

__all__ = ["check_automation", "choices_of", "functions_of", "outputs_of"]


def check_automation(spec: RolloutSpec, methods: Mapping[str, Method], endpoints: Collection[str]) -> None:
    """Refuse an automation that the service cannot have.

    Args:
        spec: the rollout's spec.
        methods: the service's endpoints.
        endpoints: those of them that are routed.

    Raises:
        InvalidSpec: naming everything that is wrong, one thing a line: an endpoint that is not there, not
            routed, a stream or routed by rows; an argument that it lacks; an output that no choice becomes;
            a function that cannot be imported.
    """
    problems = []
    for endpoint, automation in spec.automation.items():
        place = ("automation", endpoint)
        found = list(_misplaced(endpoint, spec, methods, endpoints))
        found = found or list(_unfitting(automation, methods[endpoint]))
        problems += [str(problem.below(*place)) for problem in found]
        problems += _unimported(automation, endpoint)
    if problems:
        raise InvalidSpec("\n".join(problems))


def functions_of(automation: Automation, endpoint: str) -> dict[str, Callable[..., Any]]:
    """Return the user's functions of an endpoint's automation by place, as `Automation.references` has them.

    Raises:
        InvalidSpec: for one that cannot be imported, or called.
    """
    return {
        place: imported(named, f"automation.{endpoint}.{place}") if isinstance(named, str) else named
        for place, named in automation.references.items()
    }


def outputs_of(method: Method) -> Mapping[str, Any] | None:
    """Return an endpoint's outputs by the choice that each of them is; empty: any text; None: no choice."""
    root = method.output_spec.model_fields.get("root")
    return outputs_in(root.annotation) if root and issubclass(method.output_spec, IORootModel) else None


def choices_of(automation: Automation, method: Method) -> tuple[str, ...]:
    """Return what reviewers choose from: as written, or by the output's type; empty: they fill in a form."""
    return automation.review.choices or tuple(outputs_of(method) or ())


def _misplaced(
    endpoint: str, spec: RolloutSpec, methods: Mapping[str, Method], endpoints: Collection[str]
) -> Iterator[Problem]:
    if endpoint not in methods:
        yield Problem((), f"the service has no endpoint {endpoint!r}; it has: {', '.join(methods)}")
    elif endpoint not in endpoints:
        yield Problem(
            (), f"endpoint {endpoint!r} is not routed; the spec's endpoints are: {_listed(endpoints)}"
        )
    elif methods[endpoint].is_stream:
        yield Problem((), f"endpoint {endpoint!r} is a stream: a person answers a call as a whole")
    elif any(source.kind == "rows" for source in spec.routing.sources(endpoint)):
        words = f"endpoint {endpoint!r} is routed by its rows (routing.key: rows:…)"
        yield Problem((), f"{words}, and a person answers a call as a whole: route it by another key")


def _unfitting(automation: Automation, method: Method) -> Iterator[Problem]:
    if not takes_any(method):
        has = parameters_of(method)
        for at, condition in enumerate(automation.ask_when):
            for name in condition.arguments:
                if name not in has:
                    words = f"the endpoint has no argument {name!r}; it has: {_listed(has)}"
                    yield Problem(("ask_when", at), words)
        for name in () if automation.segments is None else automation.segments.arguments:
            if name not in has:
                words = f"the endpoint has no argument {name!r}; it has: {_listed(has)}"
                yield Problem(("segments",), words)
    yield from _unanswerable(automation, method)


def _unanswerable(automation: Automation, method: Method) -> Iterator[Problem]:
    """Yield why what a person gives would not become an output."""
    review, outputs = automation.review, outputs_of(method)
    choices = choices_of(automation, method)
    if review.answer is None and outputs is None and (choices or not _has_form(method)):
        kind = "no choice" if choices else "no choice, and its schema makes no form"
        words = f"the endpoint's output is {kind}: write module:function, which returns the output"
        yield Problem(("review", "answer"), f"{words} of a choice, and is called with it and the suggestion")
    if review.answer is None and outputs:
        for at, choice in enumerate(choices):
            if choice not in outputs:
                words = f"{choice!r} is no output of the endpoint ({', '.join(outputs)})"
                yield Problem(("review", "choices", at), f"{words}: leave choices out, or write answer:")
    if review.default is not None and review.choices is None and (choices or outputs is None):
        if not choices:
            yield Problem(
                ("review", "default"), "there are no choices of which it could be one: write choices:"
            )
        elif review.default not in choices:
            yield Problem(
                ("review", "default"), f"{review.default!r} is none of the choices: {_listed(choices)}"
            )


def _has_form(method: Method) -> bool:
    """Whether an output can be filled in by its JSON schema: it has fields, or is a number or a list."""
    schema = method.output_spec.model_json_schema()
    return bool(
        schema.get("properties") or schema.get("items") or schema.get("type") in ("integer", "number")
    )


def _unimported(automation: Automation, endpoint: str) -> list[str]:
    wrong = []
    for place, named in automation.references.items():
        try:
            if isinstance(named, str):
                imported(named, f"automation.{endpoint}.{place}")
        except InvalidSpec as error:
            wrong.append(str(error))
    return wrong


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
