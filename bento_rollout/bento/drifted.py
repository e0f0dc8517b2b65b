"""Whether a service has what a spec's ``drift`` watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..drifting import problems_in
from ..errors import InvalidSpec
from ..explaining import Problem
from ..spec import RolloutSpec
from .method import Method, parameters_of, takes_any

__all__ = ["check_drift"]


def check_drift(spec: RolloutSpec, methods: Mapping[str, Method], endpoints: Sequence[str]) -> None:
    """Refuse a watch for drift that the service cannot have.

    Args:
        spec: the rollout's spec.
        methods: the service's endpoints.
        endpoints: those of them that are routed.

    Raises:
        InvalidSpec: naming everything that is wrong, one thing a line: an endpoint that is not there, not
            routed, a stream, or without arguments; several, of which none is named.
    """
    if spec.drift is None:
        return
    automated = tuple(spec.automation)
    problems = problems_in(spec.drift, ledger=spec.ledger, endpoints=endpoints, automated=automated)
    endpoint = spec.drift.endpoint_of(endpoints)
    if not problems and endpoint is not None:
        problems = [problem.below("drift") for problem in _unfitting(endpoint, spec, methods[endpoint])]
    if problems:
        raise InvalidSpec("\n".join(map(str, problems)))


def _unfitting(endpoint: str, spec: RolloutSpec, method: Method) -> Iterator[Problem]:
    if method.is_stream:
        yield Problem(
            ("endpoint",), f"{endpoint!r} is a stream, whose inputs are not watched: write another one"
        )
    elif spec.drift is not None and spec.drift.data is not None and not _takes(method):
        yield Problem(("endpoint",), f"{endpoint!r} has no arguments that could drift: write another one")


def _takes(method: Method) -> bool:
    return bool(parameters_of(method)) or takes_any(method)
