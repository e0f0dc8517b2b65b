"""Puts the automated endpoints of a worker together, where a spec has any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..calls import Call
from ..feed import Feed
from ..router import Router
from ..store import RolloutStore
from .automated import Automated
from .cases import Settings
from .endpoints import Facade
from .entrusting import choices_of, functions_of, outputs_of
from .making import Making
from .method import parameters_of
from .people import People

if TYPE_CHECKING:
    from .recording import Recording
    from .site import Site

__all__ = ["staffed"]


def staffed(
    site: Site,
    facades: Mapping[str, Facade],
    router: Router,
    stored: tuple[Feed, RolloutStore],
    recording: Recording,
    digests: Mapping[str, str],
    is_client_error: Callable[[BaseException], bool],
    ways: tuple[Callable[[Call], None], Callable[[Call], Awaitable[None]]],
) -> People:
    """Let people answer what the spec says that they do, from now on, and return who asks them.

    Args:
        site: the rollout as it was defined.
        facades: by endpoint.
        router, stored, recording: the rollout in this worker.
        digests: what each variant is here.
        is_client_error: whether an exception is the caller's fault.
        ways: tells of a call; writes down what a task waits for.
    """
    spec, (tell, record), (feed, store) = site.spec, ways, stored
    kept, prefix = spec.ledger.enabled, site.prefix
    people = People(site.name, spec.automation, store, feed, recording.sink, ledger=kept, prefix=prefix)
    for endpoint, automation in spec.automation.items():
        method, facade = site.methods[endpoint], facades[endpoint]
        functions, choices = functions_of(automation, endpoint), choices_of(automation, method)
        people.makers[endpoint] = Making(
            endpoint, facade.output_spec, outputs_of(method), functions.get("review.answer")
        )
        sources = spec.routing.sources(endpoint)
        people.proofs[endpoint] = tuple(source.name for source in sources if source.kind == "header")
        settings = Settings(
            endpoint,
            automation,
            functions,
            parameters_of(method),
            choices,
            None if choices else _schema(method.output_spec),
            people.proofs[endpoint],
            digests,
            site.prefix,
            site.time_limit(),
        )
        facade.automated = Automated(
            settings, people, router, is_client_error, _status_of(site.service.context), tell, record
        )
    recording.join("audits", people.audits.channel)
    people.start()
    return people


def _schema(spec: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec.model_json_schema()
    return found


def _status_of(context: Any) -> Callable[[int], None]:
    """Return what tells a service's context of the status of an answer that its code did not make."""

    def put(status: int) -> None:
        context.response.status_code = status

    return put
