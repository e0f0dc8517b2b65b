"""Where a command finds its rollout: in the store that it reaches, or, by ``--url``, in a running service."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, Union

import click

from ..errors import Refused, StoreUnreachable

if TYPE_CHECKING:
    from ..distant import Distant, Done, Service
    from ..operations import Change, Rollout

__all__ = [
    "AnyDone",
    "AnyRollout",
    "answer_of",
    "elsewhere",
    "here",
    "is_elsewhere",
    "listed",
    "reached",
    "service",
]

AnyRollout = Union["Rollout", "Distant"]
AnyDone = Union["Change", "Done"]

URL = "BENTO_ROLLOUT_URL"

_META = "bento_rollout.elsewhere"

F = TypeVar("F", bound=Callable[..., Any])


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:  # what stands after the verb goes before what stands before it
        ctx.meta[f"{_META}.{param.name}"] = value


def elsewhere(command: F) -> F:
    """Give a command the options that send it to a running service."""
    url = click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=_keep,
        help=f"Ask the service at this address instead of the store; default {URL}.",
    )
    token = click.option(
        "--token-file",
        metavar="FILE",
        expose_value=False,
        callback=_keep,
        help="With --url: a file with the token; default BENTO_ROLLOUT_ADMIN_TOKEN.",
    )
    return url(token(command))


def is_elsewhere() -> bool:
    """Whether the command asks a running service."""
    return bool(_option("url", URL))


def here(what: str) -> None:
    """Refuse what needs the store itself when a service elsewhere is asked.

    Raises:
        Refused: it is.
    """
    if is_elsewhere():
        raise Refused(f"{what} works where the store is, and --url (or {URL}) names a service: run it there")


def service() -> Service:
    """Return the service that is asked."""
    from ..distant import Service
    from ..distant.service import token_from

    token = token_from(os.environ, _option("token_file", ""))
    return Service(_option("url", URL) or "", token)


def reached(name: str, author: str | None = None) -> AnyRollout:
    """Open a rollout where it is.

    Args:
        name: the rollout.
        author: who asks; of a service elsewhere: whom the token's owner acts for.
    """
    if not is_elsewhere():
        from ..operations import open_rollout

        return open_rollout(name, author=author)
    from ..distant import Distant

    return Distant(service(), name, author or os.environ.get("BENTO_ROLLOUT_AUTHOR") or None)


def answer_of(rollout: AnyRollout, done: AnyDone) -> dict[str, Any]:
    """Return the new state, and what a change did."""
    from ..operations import Change, Rollout

    if isinstance(done, Change) and isinstance(rollout, Rollout):
        from ..admin.answers import answer_to

        return answer_to(rollout, done)
    return done.answer  # type: ignore[union-attr]  # of a service elsewhere, which answered with it


def listed() -> list[dict[str, Any]]:
    """Return name, revision and champion of every rollout that is reached.

    Raises:
        StoreUnreachable: the store cannot be read, here or there.
    """
    if not is_elsewhere():
        from ..operations import list_rollouts

        return list_rollouts()
    state = service().get("state")
    if problem := state["store"].get("problem"):
        raise StoreUnreachable(problem)
    return [{name: state[name] for name in ("name", "revision", "champion")}]


def _option(name: str, variable: str) -> str | None:
    context = click.get_current_context(silent=True)
    told = None if context is None else context.meta.get(f"{_META}.{name}")
    return told or (os.environ.get(variable) or None if variable else None)
