"""The PostgreSQL server of a benchmark: made for it, with the durability that a server has by default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento_rollout import open_rollout
from tests.postgres import Server, running

from .topology import Balancer, Replica, balanced, replicas

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NAME", "SERVICE", "Database", "served"]

NAME = "replicated"
_SCHEMA = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^rollout_[0-9]+_{}$'"
SERVICE = "benchmarks.replicas.service:Replicated"


class Database:
    """A server with a database that has our tables, until the block ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.server: Server

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(running(durable=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where it is."""
        return self.server.url("made")

    def operator(self) -> Any:
        """Return the rollout as an operator has it."""
        os.environ["BENTO_ROLLOUT_STORE"] = self.url
        return open_rollout(NAME)

    def stop(self, mode: str) -> None:
        """Stop the server; ``immediate`` is as good as a crash."""
        self.server.stop(mode)

    def start(self) -> None:
        """Start it again."""
        self.server.start()

    def count(self, file: str, query: str) -> int:
        """Return the one number that a query over a file's tables finds."""
        ((schema,),) = self.server.run(_SCHEMA.format(file), "made")
        found: Any = self.server.run(query.replace("FROM ", f"FROM {schema}."), "made")[0][0]
        return int(found)


@contextmanager
def served(
    folder: Path, database: Database, count: int = 6, **more: Any
) -> Iterator[tuple[list[Replica], Balancer]]:
    """Serve so many replicas behind a load balancer until the block ends."""
    environ = {"BENTO_ROLLOUT_STORE": database.url}
    with (
        replicas(folder, SERVICE, environ, count, **more) as members,
        balanced(folder / "balancer", members) as balancer,
    ):
        yield members, balancer
